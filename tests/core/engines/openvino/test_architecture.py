"""Which config.json and which tensors the converter takes; everything else is refused by its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qwen_triton.checkpoint.weights import StoredTensor
from qwen_triton.engines.openvino.architecture import DenseQwen
from qwen_triton.errors import ConfigurationError
from tests.support.checkpoints import CONFIGS

REMEDY = "use a dense Qwen2, Qwen2.5 or Qwen3 checkpoint, or export this one to OpenVINO with optimum-intel"
QWEN2, QWEN3 = CONFIGS["qwen2-untied-f32"], CONFIGS["qwen3-tied-bf16"]


def model(**changes: Any) -> DenseQwen:
    return DenseQwen.from_config(QWEN2 | changes)


def test_sizes_are_read() -> None:
    """A Qwen2 has biases on queries, keys and values and heads that fill its width."""
    qwen2 = model()
    assert (qwen2.hidden, qwen2.layers, qwen2.heads, qwen2.kv_heads, qwen2.head_dim) == (64, 3, 4, 2, 16)
    assert (qwen2.qkv_bias, qwen2.output_bias, qwen2.qk_norm, qwen2.tied) == (True, False, False, False)


def test_qwen3_has_norms_and_its_own_head_size() -> None:
    """A Qwen3 has no biases, norms on queries and keys, and head_dim 128 where config.json is silent."""
    qwen3 = DenseQwen.from_config(QWEN3)
    assert (qwen3.head_dim, qwen3.qkv_bias, qwen3.output_bias) == (32, False, False)
    assert (qwen3.qk_norm, qwen3.tied) == (True, True)
    assert DenseQwen.from_config({k: v for k, v in QWEN3.items() if k != "head_dim"}).head_dim == 128
    assert qwen3.tensor_shapes()["model.layers.2.self_attn.q_norm.weight"] == (32,)


def test_both_spellings_of_the_rotation_are_read() -> None:
    """rope_theta stands beside the other keys, or in transformers 5's rope_parameters."""
    assert model(rope_theta=5e5).rope_theta == 5e5
    assert model(rope_scaling=None).rope_theta == 10000.0
    assert model(rope_scaling={"type": "default"}).rope_theta == 10000.0
    assert model(rope_parameters={"rope_type": "default", "rope_theta": 1e6}).rope_theta == 1e6


@pytest.mark.parametrize(
    ("changes", "key", "reason"),
    [
        ({"model_type": "qwen3_moe"}, "model_type", "'qwen3_moe' is not covered (only 'qwen2' and 'qwen3' are)"),
        ({"model_type": "qwen2_5_vl"}, "model_type", "'qwen2_5_vl' is not covered (only 'qwen2' and 'qwen3' are)"),
        ({"model_type": "qwen3_next"}, "model_type", "'qwen3_next' is not covered (only 'qwen2' and 'qwen3' are)"),
        ({"model_type": None}, "model_type", "None is not covered (only 'qwen2' and 'qwen3' are)"),
        ({"num_experts": 8}, "num_experts", "not covered by the converter"),
        ({"vision_config": {"depth": 1}}, "vision_config", "not covered by the converter"),
        ({"quantization_config": {"bits": 4}}, "quantization_config", "not covered by the converter"),
        ({"use_sliding_window": True}, "use_sliding_window", "sliding-window attention is not covered"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types", "only full_attention is covered"),
        ({"hidden_act": "gelu"}, "hidden_act", "'gelu' is not covered (only 'silu' is)"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor", "only whole heads are rotated"),
        (
            {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
            "rope_scaling",
            "rope type 'yarn' is not covered (only 'default' is)",
        ),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_scaling",
            "rope type 'linear' is not covered (only 'default' is)",
        ),
        (
            {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e6}},
            "rope_parameters",
            "rope type 'llama3' is not covered (only 'default' is)",
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_theta": 1e6}}},
            "rope_parameters.full_attention",
            "not covered by the converter",
        ),
        ({"hidden_size": "64"}, "hidden_size", "must be a positive integer, got '64'"),
        ({"num_key_value_heads": 3}, "num_key_value_heads", "3 does not divide num_attention_heads (4)"),
        ({"rms_norm_eps": None}, "rms_norm_eps", "must be a positive number, got None"),
        ({"rope_theta": 0}, "rope_theta", "must be a positive number, got 0"),
    ],
)
def test_what_is_not_covered_is_refused_by_its_key(changes: dict[str, Any], key: str, reason: str) -> None:
    """One line: the key, why, and what to use instead; nothing is converted into something that answers wrongly."""
    with pytest.raises(ConfigurationError) as caught:
        model(**changes)
    assert str(caught.value) == f"config.json: {key}: {reason}; {REMEDY}"


def tensors(**changes: tuple[int, ...] | None) -> dict[str, StoredTensor]:
    shapes = model().tensor_shapes() | {key.replace("__", "."): shape for key, shape in changes.items()}
    return {name: StoredTensor(Path("x"), "F32", shape, 0, 0) for name, shape in shapes.items() if shape is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__norm__weight": None},
            "tensor model.norm.weight is missing from the checkpoint; fetch its weights again",
        ),
        (
            {"model__layers__1__mlp__up_proj__weight": (64, 160)},
            "tensor model.layers.1.mlp.up_proj.weight has shape [64, 160], config.json asks for [160, 64]; "
            "fetch config.json and weights of the same checkpoint",
        ),
        (
            {"model__layers__3__mlp__up_proj__weight": (160, 64)},
            f"tensor model.layers.3.mlp.up_proj.weight is not part of a dense Qwen model; {REMEDY}",
        ),
    ],
)
def test_tensors_must_be_those_of_the_config(changes: dict[str, tuple[int, ...] | None], message: str) -> None:
    """Missing, of another shape, left over: the first such tensor is named."""
    with pytest.raises(ConfigurationError) as caught:
        model().check_tensors(tensors(**changes))
    assert str(caught.value) == message


def test_harmless_extras_are_let_through() -> None:
    """Old checkpoints keep rotary frequencies; tied ones may keep a copy of the output matrix."""
    stored = tensors(model__layers__0__self_attn__rotary_emb__inv_freq=(8,))
    model().check_tensors(stored)
    model(tie_word_embeddings=True).check_tensors(stored)
