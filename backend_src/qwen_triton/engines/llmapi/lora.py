"""LoRA adapters as TensorRT-LLM's LoRA configuration. Imports no tensorrt_llm.

TensorRT-LLM must be told the layers that any adapter changes, by names of its own: without them it makes room for every
layer that it knows. It takes the scale of the whole adapter for each layer, so ranks and scales of single layers are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...errors import ConfigurationError
from ..gpu.adapters import Adapter, AdapterRoom

MODULES = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_dense",
    "gate_proj": "mlp_h_to_4h",
    "down_proj": "mlp_4h_to_h",
    "up_proj": "mlp_gate",
}
"""{layer of a dense Qwen: TensorRT-LLM's name}."""
_EVERY = "all-linear"
"""PEFT's word for all of them."""


def lora_config(adapters: Sequence[Adapter], room: AdapterRoom) -> dict[str, Any]:
    """The argument `lora_config` of the LLM. Raises ConfigurationError for an adapter that would be computed wrongly."""
    wanted = {name for adapter in adapters for name in _modules(adapter)}
    return {
        "lora_dir": [str(adapter.folder) for adapter in adapters],
        "lora_target_modules": [name for name in MODULES.values() if name in wanted],
        "max_lora_rank": room.max_lora_rank,
        "max_loras": room.max_loras,
        "max_cpu_loras": room.max_cpu_loras,
    }


def _modules(adapter: Adapter) -> set[str]:
    if adapter.patterned:
        reason = "rank_pattern and alpha_pattern are not honoured by TensorRT-LLM; train the adapter with one rank"
        raise ConfigurationError(f"engine.lora.{adapter.name}: {reason}")
    if adapter.modules == (_EVERY,):
        return set(MODULES.values())
    for module in adapter.modules:
        if module not in MODULES:
            reason = f"target_modules has {module!r}; TensorRT-LLM's are {', '.join(MODULES)}"
            raise ConfigurationError(f"engine.lora.{adapter.name}: {reason}")
    return {MODULES[module] for module in adapter.modules}
