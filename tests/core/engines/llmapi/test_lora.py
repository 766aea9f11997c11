"""Adapters as TensorRT-LLM's LoRA configuration: the layers by its names, and what it would compute wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton.engines.gpu.adapters import Adapter, AdapterRoom
from qwen_triton.engines.llmapi.lora import lora_config
from qwen_triton.errors import ConfigurationError

ROOM = AdapterRoom(16, 2, 3)


def adapter(name: str, *modules: str, patterned: bool = False) -> Adapter:
    return Adapter(name, 1, Path("/") / name, 16, patterned, modules)


def test_layers_of_all_adapters_by_their_names() -> None:
    found = lora_config([adapter("a", "v_proj", "q_proj"), adapter("b", "gate_proj", "up_proj", "down_proj")], ROOM)
    assert found == {
        "lora_dir": ["/a", "/b"],
        "lora_target_modules": ["attn_q", "attn_v", "mlp_h_to_4h", "mlp_4h_to_h", "mlp_gate"],
        "max_lora_rank": 16,
        "max_loras": 2,
        "max_cpu_loras": 3,
    }


def test_all_linear_layers() -> None:
    assert len(lora_config([adapter("a", "all-linear")], ROOM)["lora_target_modules"]) == 7


def test_what_would_be_computed_wrongly() -> None:
    with pytest.raises(
        ConfigurationError, match=r"engine.lora.a: rank_pattern and alpha_pattern are not honoured by TensorRT"
    ):
        lora_config([adapter("a", "q_proj", patterned=True)], ROOM)
    with pytest.raises(
        ConfigurationError, match=r"engine.lora.b: target_modules has 'lm_head'; TensorRT-LLM's are q_pro"
    ):
        lora_config([adapter("a", "q_proj"), adapter("b", "q_proj", "lm_head")], ROOM)
