"""Small checkpoints with seeded random weights, generated with numpy alone and equal on every machine.

The layers are scaled up, because a tied model whose layers add little repeats its last token forever, and then equal
greedy output proves nothing. Biases and norms are random too, so that an error in them shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qwen_triton.engines.openvino.architecture import DenseQwen

VOCAB = 512
_BASE: dict[str, Any] = {
    "model_type": "qwen2",
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "torch_dtype": "float32",
}
_ROPE_5 = {"rope_type": "default", "rope_theta": 1000000.0}
CONFIGS: dict[str, dict[str, Any]] = {
    "qwen2-untied-f32": _BASE | {"architectures": ["Qwen2ForCausalLM"]},
    "qwen2-tied-bf16": _BASE
    | {"architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True, "torch_dtype": "bfloat16"},
    "qwen3-tied-bf16": {key: value for key, value in _BASE.items() if key not in ("rope_theta", "torch_dtype")}
    | {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "head_dim": 32,
        "attention_bias": False,
        "tie_word_embeddings": True,
        "rope_parameters": _ROPE_5,
        "dtype": "bfloat16",
    },
}
"""The newest one has its config.json in the spelling of transformers 5."""


def write_checkpoint(folder: Path, name: str, shards: int = 1, **overrides: Any) -> Path:
    """Writes checkpoint `name` into `folder`; `overrides` change its config.json."""
    config = CONFIGS[name] | overrides
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    weights = random_weights(DenseQwen.from_config(config), seed=sorted(CONFIGS).index(name))
    dtype = "BF16" if "bfloat16" in (config.get("dtype"), config.get("torch_dtype")) else "F32"
    if shards == 1:
        write_safetensors(folder / "model.safetensors", weights, dtype)
        return folder
    names = sorted(weights)
    files = {f"model-{n + 1:05}-of-{shards:05}.safetensors": names[n::shards] for n in range(shards)}
    for file, part in files.items():
        write_safetensors(folder / file, {name: weights[name] for name in part}, dtype)
    weight_map = {name: file for file, part in files.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def random_weights(model: DenseQwen, seed: int) -> dict[str, NDArray[np.float32]]:
    """All tensors of a model as f32."""
    rng = np.random.default_rng(seed)
    return {name: _fill(rng, name, shape) for name, shape in sorted(model.tensor_shapes().items())}


def _fill(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    values = rng.standard_normal(shape, np.float32)
    if name == "model.norm.weight":
        return 3 + values * np.float32(0.6)  # peaked distributions, so that rounding does not decide
    if name.endswith("norm.weight"):
        return 1 + values * np.float32(0.2)
    if name.endswith("bias"):
        return values * np.float32(0.5)
    if name == "model.embed_tokens.weight":
        return values * np.float32(0.3)
    gain = 3.0 if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")) else 1.5
    return values * np.float32(gain / shape[1] ** 0.5)


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], dtype: str) -> None:
    """One file in the safetensors format; `dtype` is F32, F16 or BF16 (rounded to nearest even)."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blobs: list[bytes] = []
    for name, values in tensors.items():
        blob = _encode(values, dtype)
        start = sum(map(len, blobs))
        header[name] = {"dtype": dtype, "shape": values.shape, "data_offsets": [start, start + len(blob)]}
        blobs.append(blob)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def _encode(values: NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
        return (rounded >> np.uint32(16)).astype(np.uint16).tobytes()
    return values.astype({"F32": np.float32, "F16": np.float16}[dtype]).tobytes()


def prompts(count: int) -> list[list[int]]:
    """Seeded prompts of many lengths, from 1 to about 120 tokens."""
    rng = np.random.default_rng(7)
    return [[int(token) for token in rng.integers(0, VOCAB, 1 + (n * 37) % 120)] for n in range(count)]


def long_prompt(seed: int) -> list[int]:
    """A seeded prompt of 700 tokens, which takes the engine several steps to read."""
    return [int(token) for token in np.random.default_rng(seed).integers(0, VOCAB, 700)]
