"""LoRA adapters of GPU engines: read and checked before the engine's library gets them.

A library finds a wrong adapter only when it loads it, takes a folder that does not exist for a name on a hub, and reads an
adapter that its caches have dropped again in the middle of a step; so folders, ranks and the size of the caches are settled
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checkpoint.json_file import read_json_object
from ...errors import ConfigurationError

LARGEST_RANK = 512
MOST_IN_A_BATCH = 8
"""The most adapters that share a batch unless `max_loras` says more: each has its place in the GPU's memory."""
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_REMEDY = "give the folder of a LoRA adapter as PEFT saves it"
_UNSUPPORTED = (
    "use_dora", "modules_to_save", "lora_bias", "alora_invocation_tokens", "layer_replication", "use_bdlora", "use_qalora"
)  # fmt: skip
"""Features of PEFT that the libraries refuse or take no notice of."""
_PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Ways of PEFT to begin a training (`init_lora_weights`) that leave the base model as it is."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter. `number`: the library's name for it, from 1. `rank`: the largest of its modules. `patterned`: modules
    differ in rank or scale, which not every version of a library honours. `modules`: the names of the layers that it changes,
    as PEFT's target_modules has them."""

    name: str
    number: int
    folder: Path
    rank: int
    patterned: bool
    modules: tuple[str, ...] = ()


def read_adapters(folders: Mapping[str, Path], library: str) -> tuple[Adapter, ...]:
    """The adapters by name and folder. Raises ConfigurationError for a folder that holds none that `library` can serve."""
    return tuple(
        _read(name, folder.absolute(), number, library) for number, (name, folder) in enumerate(folders.items(), 1)
    )


def _read(name: str, folder: Path, number: int, library: str) -> Adapter:
    try:
        config = read_json_object(folder / _CONFIG, _REMEDY)
    except ConfigurationError as error:
        raise ConfigurationError(f"engine.lora.{name}: {error}") from None
    if not (folder / _WEIGHTS).is_file():
        raise ConfigurationError(f"engine.lora.{name}: {folder / _WEIGHTS}: no such file; {_REMEDY}")
    if fault := _fault(config, library):
        raise ConfigurationError(f"engine.lora.{name}: {folder / _CONFIG}: {fault}")
    ranks = [config["r"], *(config.get("rank_pattern") or {}).values()]
    patterned = bool(config.get("rank_pattern") or config.get("alpha_pattern"))
    modules = config["target_modules"]
    return Adapter(
        name, number, folder, max(ranks), patterned, (modules,) if isinstance(modules, str) else tuple(modules)
    )


def _fault(config: Mapping[str, Any], library: str) -> str:
    """Why a library would not take an adapter, or would not compute what it was trained for; empty if it does."""
    if config.get("peft_type", "LORA") != "LORA":
        return f"peft_type is {config['peft_type']!r}, only LORA can be served"
    if missing := [key for key in ("r", "lora_alpha", "target_modules") if key not in config]:
        return f"{missing[0]} is missing; {_REMEDY}"
    ranks = [config["r"], *(config.get("rank_pattern") or {}).values()]
    if wrong := [rank for rank in ranks if type(rank) is not int or not 1 <= rank <= LARGEST_RANK]:
        return f"a rank must be a whole number from 1 to {LARGEST_RANK}, got {wrong[0]!r}"
    if used := [key for key in _UNSUPPORTED if config.get(key)]:
        return f"{used[0]} is not supported by {library}; train the adapter without it"
    if config.get("bias", "none") != "none":
        return f"bias is not supported by {library}; train the adapter without it"
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        return f"init_lora_weights is {start!r}, which changes the base model; convert it to a plain LoRA adapter with PEFT"
    return ""


@dataclass(frozen=True, slots=True)
class AdapterRoom:
    """Room for adapters: the largest rank, how many share a batch, how many are kept in the machine's memory."""

    max_lora_rank: int
    max_loras: int
    max_cpu_loras: int


def room_for(
    adapters: Sequence[Adapter], max_loras: int | None, max_cpu_loras: int | None, max_lora_rank: int | None
) -> AdapterRoom:
    """The room that `adapters`, one at least, need. What is None is derived: the largest rank, a place in the batch for up to
    eight, and memory for all. Raises ConfigurationError for less than the adapters need.
    """
    largest = max(adapters, key=lambda adapter: adapter.rank)
    if max_lora_rank is not None and max_lora_rank < largest.rank:
        reason = f"is less than the {largest.rank} of engine.lora.{largest.name}; raise it or leave it out"
        raise ConfigurationError(f"engine.max_lora_rank: {max_lora_rank} {reason}")
    in_batch = max_loras or min(len(adapters), MOST_IN_A_BATCH)
    return AdapterRoom(max_lora_rank or largest.rank, in_batch, max_cpu_loras or max(in_batch, len(adapters)))
