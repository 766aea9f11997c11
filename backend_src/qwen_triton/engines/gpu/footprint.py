"""Memory that a checkpoint takes on GPUs: its weights, and the cache of keys and values.

From the headers of its weight files, or, for a folder without weights, from config.json. An estimate: activations, CUDA
graphs and what a kernel needs come on top. Knows no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any, Protocol

from ...checkpoint.json_file import read_json_object
from ...checkpoint.weights import ITEM_BYTES, REMEDY, Checkpoint, StoredTensor

_BYTES = {"half": 2, "float16": 2, "bfloat16": 2, "float": 4, "float32": 4}
_QUANTIZED_BITS = {"gptq": 4, "awq": 4, "fp8": 8, "compressed-tensors": 8}
"""Bits of a weight where quantization_config does not say."""
_ONE_BYTE = ("fp8", "mxfp8", "int8")
"""Beginnings of the methods by which an engine itself quantizes a checkpoint that is not: to one byte a weight."""
_FROM_SAFETENSORS = ("auto", "safetensors")
_NOT_QUANTIZED = ("embed_tokens", "lm_head")


class Storage(Protocol):
    """How an engine stores a checkpoint. `dtype` of values, `auto` as the checkpoint says; `load_format`; `quantization`
    while loading, None = as the checkpoint is; `kv_cache_dtype` of keys and values; GPUs by tensor and pipeline parallelism.
    """

    @property
    def dtype(self) -> str: ...
    @property
    def load_format(self) -> str: ...
    @property
    def quantization(self) -> str | None: ...
    @property
    def kv_cache_dtype(self) -> str: ...
    @property
    def tensor_parallel_size(self) -> int: ...
    @property
    def pipeline_parallel_size(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes. `weights`: of all GPUs together; `kv_head_bytes`: keys and values of a token in one head of one layer.

    `layers`: those with a cache; `context`: tokens that config.json gives the model, None where it scales positions.
    """

    weights: int
    layers: int
    kv_heads: int
    kv_head_bytes: int
    context: int | None

    def weights_of_a_gpu(self, options: Storage) -> int:
        return ceil(self.weights / (options.tensor_parallel_size * options.pipeline_parallel_size))

    def token_of_a_gpu(self, options: Storage) -> int:
        """Bytes of the cache for one token: heads are shared by tensor parallelism, layers by pipeline parallelism."""
        heads = max(1, ceil(self.kv_heads / options.tensor_parallel_size))
        return ceil(self.layers / options.pipeline_parallel_size) * heads * self.kv_head_bytes


def read_footprint(folder: Path, options: Storage) -> Footprint | None:
    """The footprint of a checkpoint's folder; None for an architecture whose sizes config.json has under other names.

    Raises ConfigurationError for files that are missing or cut short.
    """
    config = read_json_object(folder / "config.json", REMEDY)
    text = config.get("text_config")
    model = {**config, **text} if isinstance(text, dict) else config
    try:
        item = _BYTES.get(options.dtype, 2)  # auto halves float32
        layers, heads = int(model["num_hidden_layers"]), int(model["num_attention_heads"])
        head = int(model.get("head_dim") or model["hidden_size"] // heads)
        if options.load_format in _FROM_SAFETENSORS and not any(folder.glob("*.bin")):
            weights = _read_weights(Checkpoint.open(folder), item, options)
        else:
            weights = _counted_weights(model, head, item, options)
        kinds = model.get("layer_types")
        with_cache = sum(kind != "linear_attention" for kind in kinds) if isinstance(kinds, list) else layers
        kv_item = 1 if options.kv_cache_dtype.startswith("fp8") else item
        scaling = model.get("rope_scaling") or model.get("rope_parameters") or {}
        context = None if "factor" in scaling else model.get("max_position_embeddings")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    kv_heads = int(model.get("num_key_value_heads") or heads)
    return Footprint(weights, with_cache, kv_heads, 2 * head * kv_item, context if isinstance(context, int) else None)


def _read_weights(checkpoint: Checkpoint, item: int, options: Storage) -> int:
    quantizes = _quantizes(checkpoint.config, options)
    return sum(_tensor_bytes(name, tensor, item, quantizes) for name, tensor in checkpoint.tensors.items())


def _tensor_bytes(name: str, tensor: StoredTensor, item: int, quantizes: bool) -> int:
    if tensor.dtype not in ITEM_BYTES:  # packed or of one byte already
        return tensor.stop - tensor.start
    linear = len(tensor.shape) >= 2 and not any(part in name for part in _NOT_QUANTIZED)
    return prod(tensor.shape) * (1 if quantizes and linear else item)


def _quantizes(config: Mapping[str, Any], options: Storage) -> bool:
    """Whether the engine itself quantizes the weights while it loads them."""
    method = options.quantization or ""
    return method.startswith(_ONE_BYTE) and "quantization_config" not in config


def _counted_weights(model: Mapping[str, Any], head: int, item: int, options: Storage) -> int:
    """Bytes of a Qwen's weights by its sizes: embeddings in the type of values, layers as they are quantized."""
    hidden, layers = int(model["hidden_size"]), int(model["num_hidden_layers"])
    heads, kv_heads = int(model["num_attention_heads"]), int(model.get("num_key_value_heads") or 0)
    attention = hidden * head * 2 * (heads + (kv_heads or heads))
    experts = int(model.get("num_experts") or 0)
    if experts:
        shared = int(model.get("shared_expert_intermediate_size") or 0)
        feed = 3 * hidden * (experts * int(model["moe_intermediate_size"]) + shared)
    else:
        feed = 3 * hidden * int(model["intermediate_size"])
    quantized = model.get("quantization_config")
    bits = 8.0 * item
    if isinstance(quantized, dict):
        bits = float(quantized.get("bits") or _QUANTIZED_BITS.get(str(quantized.get("quant_method")), 8))
    elif _quantizes(model, options):
        bits = 8.0
    embeddings = int(model["vocab_size"]) * hidden * (1 if model.get("tie_word_embeddings") else 2)
    return round(layers * (attention + feed) * bits / 8) + embeddings * item
