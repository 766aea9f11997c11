"""The architecture that dense Qwen2, Qwen2.5 and Qwen3 checkpoints share, read from a config.json.

The converter builds exactly this; any other feature that a config.json asks for is refused here, by its key.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...checkpoint.weights import StoredTensor
from ...errors import ConfigurationError

Shape = tuple[int, ...]
COVERED = ("qwen2", "qwen3")
REMEDY = "use a dense Qwen2, Qwen2.5 or Qwen3 checkpoint, or export this one to OpenVINO with optimum-intel"


@dataclass(frozen=True, slots=True)
class DenseQwen:
    """Sizes and variants of one model; `qk_norm` and `output_bias` are Qwen3's, `tied` shares input and output rows."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    max_positions: int
    rope_theta: float
    norm_eps: float
    tied: bool
    qk_norm: bool
    qkv_bias: bool
    output_bias: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DenseQwen:
        """Raises ConfigurationError naming the key that is missing, wrong or asks for what is not covered."""
        _refuse_uncovered(config)
        hidden, heads = _integer(config, "hidden_size"), _integer(config, "num_attention_heads")
        kv_heads = _integer(config, "num_key_value_heads")
        if heads % kv_heads:
            raise _error("num_key_value_heads", f"{kv_heads} does not divide num_attention_heads ({heads})")
        qwen3 = config["model_type"] == "qwen3"
        bias = bool(config.get("attention_bias", False)) if qwen3 else True
        default_head_dim = 128 if qwen3 else hidden // heads
        return cls(
            hidden=hidden,
            intermediate=_integer(config, "intermediate_size"),
            layers=_integer(config, "num_hidden_layers"),
            heads=heads,
            kv_heads=kv_heads,
            head_dim=default_head_dim if config.get("head_dim") is None else _integer(config, "head_dim"),
            vocab=_integer(config, "vocab_size"),
            max_positions=_integer(config, "max_position_embeddings"),
            rope_theta=_rope_theta(config),
            norm_eps=_positive(config, "rms_norm_eps"),
            tied=bool(config.get("tie_word_embeddings", False)),
            qk_norm=qwen3,
            qkv_bias=bias,
            output_bias=bias and qwen3,
        )

    def layer_shapes(self) -> dict[str, Shape]:
        """The tensors of one layer by their name after `model.layers.N.`; matrices are [outputs, inputs]."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: dict[str, Shape] = {
            "input_layernorm.weight": (self.hidden,),
            "post_attention_layernorm.weight": (self.hidden,),
            "self_attn.q_proj.weight": (query, self.hidden),
            "self_attn.k_proj.weight": (key, self.hidden),
            "self_attn.v_proj.weight": (key, self.hidden),
            "self_attn.o_proj.weight": (self.hidden, query),
            "mlp.gate_proj.weight": (self.intermediate, self.hidden),
            "mlp.up_proj.weight": (self.intermediate, self.hidden),
            "mlp.down_proj.weight": (self.hidden, self.intermediate),
        }
        if self.qkv_bias:
            shapes |= {f"self_attn.{name}_proj.bias": (size,) for name, size in (("q", query), ("k", key), ("v", key))}
        if self.output_bias:
            shapes["self_attn.o_proj.bias"] = (self.hidden,)
        if self.qk_norm:
            shapes |= {f"self_attn.{name}_norm.weight": (self.head_dim,) for name in ("q", "k")}
        return shapes

    def tensor_shapes(self) -> dict[str, Shape]:
        """Every tensor that the model consists of, by its name in the checkpoint."""
        shapes: dict[str, Shape] = {
            "model.embed_tokens.weight": (self.vocab, self.hidden),
            "model.norm.weight": (self.hidden,),
        }
        if not self.tied:
            shapes["lm_head.weight"] = (self.vocab, self.hidden)
        layer = self.layer_shapes()
        for index in range(self.layers):
            shapes |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
        return shapes

    def check_tensors(self, tensors: Mapping[str, StoredTensor]) -> None:
        """Raises ConfigurationError for the first tensor that is missing, has another shape, or would be left out."""
        expected = self.tensor_shapes()
        for name, shape in expected.items():
            if name not in tensors:
                raise ConfigurationError(f"tensor {name} is missing from the checkpoint; fetch its weights again")
            if tensors[name].shape != shape:
                raise ConfigurationError(
                    f"tensor {name} has shape {list(tensors[name].shape)}, config.json asks for {list(shape)}; "
                    "fetch config.json and weights of the same checkpoint"
                )
        harmless = {"lm_head.weight"} | {name for name in tensors if name.endswith(".rotary_emb.inv_freq")}
        surplus = sorted(set(tensors) - set(expected) - harmless)
        if surplus:
            raise ConfigurationError(f"tensor {surplus[0]} is not part of a dense Qwen model; {REMEDY}")


def _error(key: str, reason: str) -> ConfigurationError:
    return ConfigurationError(f"config.json: {key}: {reason}; {REMEDY}")


def _integer(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _error(key, f"must be a positive integer, got {value!r}")
    return value


def _positive(config: Mapping[str, Any], key: str) -> float:
    value = config.get(key)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value <= 0:
        raise _error(key, f"must be a positive number, got {value!r}")
    return float(value)


def _rope_theta(config: Mapping[str, Any]) -> float:
    """Transformers 5 keeps it in `rope_parameters`, earlier releases beside the other keys."""
    parameters = config.get("rope_parameters") or {}
    return _positive(parameters if "rope_theta" in parameters else config, "rope_theta")


def _refuse_uncovered(config: Mapping[str, Any]) -> None:
    model_type = config.get("model_type")
    if model_type not in COVERED:
        raise _error("model_type", f"{model_type!r} is not covered (only {' and '.join(map(repr, COVERED))} are)")
    for key in ("num_experts", "vision_config", "quantization_config"):
        if config.get(key):
            raise _error(key, "not covered by the converter")
    if config.get("use_sliding_window"):
        raise _error("use_sliding_window", "sliding-window attention is not covered")
    if set(config.get("layer_types") or ()) - {"full_attention"}:
        raise _error("layer_types", "only full_attention is covered")
    if config.get("hidden_act", "silu") != "silu":
        raise _error("hidden_act", f"{config['hidden_act']!r} is not covered (only 'silu' is)")
    if config.get("partial_rotary_factor", 1) != 1:
        raise _error("partial_rotary_factor", "only whole heads are rotated")
    for key in ("rope_scaling", "rope_parameters"):
        _refuse_rope(key, config.get(key) or {})


def _refuse_rope(key: str, rope: Any) -> None:
    if not isinstance(rope, Mapping):
        raise _error(key, f"must be an object, got {rope!r}")
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise _error(key, f"rope type {kind!r} is not covered (only 'default' is)")
    surplus = sorted(set(rope) - {"rope_type", "type", "rope_theta"})
    if surplus and (surplus != ["partial_rotary_factor"] or rope["partial_rotary_factor"] != 1):
        raise _error(f"{key}.{surplus[0]}", "not covered by the converter")
