"""LoRA adapters of the vLLM engine: read and checked before vLLM gets them. Imports no vllm.

vLLM finds a wrong adapter only when it loads it, takes a folder that does not exist for a name on a hub, and reads an adapter
that its caches have dropped again in the middle of a step; so folders, ranks and the size of the caches are settled here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checkpoint.json_file import read_json_object
from ...errors import ConfigurationError

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of vLLM's max_lora_rank."""
MOST_IN_A_BATCH = 8
"""The most adapters that share a batch unless `max_loras` says more: each has its place in the GPU's memory."""
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_REMEDY = "give the folder of a LoRA adapter as PEFT saves it"
_UNSUPPORTED = (
    "use_dora", "modules_to_save", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora"
)  # fmt: skip
"""Features of PEFT that vLLM refuses or takes no notice of."""
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Ways of PEFT to begin a training (`init_lora_weights`) that leave the base model as it is."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter. `number`: vLLM's name for it, from 1. `rank`: the largest of its modules. `patterned`: modules differ in
    rank or scale, which not every version of vLLM honours."""

    name: str
    number: int
    folder: Path
    rank: int
    patterned: bool


def read_adapters(folders: Mapping[str, Path]) -> tuple[Adapter, ...]:
    """The adapters by name and folder. Raises ConfigurationError for a folder that holds none that vLLM can take."""
    return tuple(_read(name, folder.absolute(), number) for number, (name, folder) in enumerate(folders.items(), 1))


def _read(name: str, folder: Path, number: int) -> Adapter:
    try:
        config = read_json_object(folder / _CONFIG, _REMEDY)
    except ConfigurationError as error:
        raise ConfigurationError(f"engine.lora.{name}: {error}") from None
    if not (folder / _WEIGHTS).is_file():
        raise ConfigurationError(f"engine.lora.{name}: {folder / _WEIGHTS}: no such file; {_REMEDY}")
    if fault := _fault(config):
        raise ConfigurationError(f"engine.lora.{name}: {folder / _CONFIG}: {fault}")
    ranks = [config["r"], *(config.get("rank_pattern") or {}).values()]
    patterned = bool(config.get("rank_pattern") or config.get("alpha_pattern"))
    return Adapter(name, number, folder, max(ranks), patterned)


def _fault(config: Mapping[str, Any]) -> str:
    """Why vLLM would not take an adapter, or would not compute what it was trained for; empty if it does."""
    if config.get("peft_type", "LORA") != "LORA":
        return f"peft_type is {config['peft_type']!r}, only LORA can be served"
    if missing := [key for key in ("r", "lora_alpha", "target_modules") if key not in config]:
        return f"{missing[0]} is missing; {_REMEDY}"
    ranks = [config["r"], *(config.get("rank_pattern") or {}).values()]
    if wrong := [rank for rank in ranks if type(rank) is not int or not 1 <= rank <= RANKS[-1]]:
        return f"a rank must be a whole number from 1 to {RANKS[-1]}, got {wrong[0]!r}"
    if used := [key for key in _UNSUPPORTED if config.get(key)]:
        return f"{used[0]} is not supported by vLLM; train the adapter without it"
    if config.get("bias", "none") != "none":
        return "bias is not supported by vLLM; train the adapter without it"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        return f"init_lora_weights is {start!r}, which changes the base model; convert it to a plain LoRA adapter with PEFT"
    return ""


def adapter_arguments(
    adapters: Sequence[Adapter], max_loras: int | None, max_cpu_loras: int | None, max_lora_rank: int | None
) -> dict[str, Any]:
    """Arguments of vLLM's engine by which it has room for the adapters; none where there are none.

    What is None is derived: the smallest rank that fits all, a place in the batch for up to eight, and memory for all. Raises
    ConfigurationError for less than the adapters need.
    """
    if not adapters:
        return {}
    largest = max(adapters, key=lambda adapter: adapter.rank)
    if max_lora_rank is not None and max_lora_rank < largest.rank:
        reason = f"is less than the {largest.rank} of engine.lora.{largest.name}; raise it or leave it out"
        raise ConfigurationError(f"engine.max_lora_rank: {max_lora_rank} {reason}")
    in_batch = max_loras or min(len(adapters), MOST_IN_A_BATCH)
    return {
        "enable_lora": True,
        "max_lora_rank": max_lora_rank or next(rank for rank in RANKS if rank >= largest.rank),
        "max_loras": in_batch,
        "max_cpu_loras": max_cpu_loras or max(in_batch, len(adapters)),
    }
