"""Reads the facts of a Hugging Face checkpoint that a build depends on, from its config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_triton.checkpoint.json_file import read_json_object
from qwen_triton.checkpoint.weights import INDEX, read_header
from qwen_triton.errors import ConfigurationError

_REMEDY = "give a Hugging Face checkpoint"


@dataclass(frozen=True)
class CheckpointFacts:
    """Sizes of the network; `weight_bytes` on disk; `quantized_by` None for plain weights, else gptq, awq, fp8 …

    `tied`: the output layer is the embedding table; `has_lm_head`: the files have weights for it, a tied one's too.
    `rope_scaling`: its type. `has_slow_tokenizer`: vocab.json and merges.txt are there.
    """

    model_type: str
    layers: int
    heads: int
    kv_heads: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    weight_bytes: int
    quantized_by: str | None = None
    bits: int | None = None
    group_size: int | None = None
    desc_act: bool = False
    symmetric: bool = True
    tied: bool = False
    has_lm_head: bool = True
    rope_scaling: str | None = None
    has_slow_tokenizer: bool = True
    has_generation_config: bool = True

    @classmethod
    def read(cls, folder: Path) -> CheckpointFacts:
        """Raises ConfigurationError naming the file that is missing, or cannot be read, or the key that it lacks.

        So for a key whose value is of another kind than its name says.
        """
        file = folder / "config.json"
        config = read_json_object(file, _REMEDY)
        quantization = _object(config, "quantization_config", file)
        try:
            return cls(
                model_type=str(config["model_type"]),
                layers=_size(config, "num_hidden_layers", file),
                heads=_size(config, "num_attention_heads", file),
                kv_heads=_size(
                    {"num_key_value_heads": config["num_attention_heads"]} | _given(config), "num_key_value_heads", file
                ),
                hidden_size=_size(config, "hidden_size", file),
                intermediate_size=_size(config, "intermediate_size", file),
                vocab_size=_size(config, "vocab_size", file),
                max_positions=_size(
                    {"max_position_embeddings": 2048} | _given(config), "max_position_embeddings", file
                ),
                weight_bytes=sum(file.stat().st_size for file in weight_files(folder)),
                quantized_by=quantization.get("quant_method"),
                bits=_whole(quantization, "bits", file),
                group_size=_whole(quantization, "group_size", file),
                desc_act=bool(quantization.get("desc_act")),
                symmetric=bool(quantization.get("sym", True)),
                tied=bool(config.get("tie_word_embeddings")),
                has_lm_head=not config.get("tie_word_embeddings") or _has_tensor(folder, "lm_head.weight"),
                rope_scaling=_rope_scaling(_object(config, "rope_scaling", file)),
                has_slow_tokenizer=all((folder / name).is_file() for name in ("vocab.json", "merges.txt")),
                has_generation_config=(folder / "generation_config.json").is_file(),
            )
        except KeyError as error:
            raise ConfigurationError(f"{file}: lacks {error}; is this a Qwen checkpoint?") from None


def _given(config: Mapping[str, Any]) -> dict[str, Any]:
    """Without the keys that are null, which are not set."""
    return {key: value for key, value in config.items() if value is not None}


def _object(config: Mapping[str, Any], key: str, file: Path) -> Mapping[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise ConfigurationError(f"{file}: {key}: expected an object, got {value!r}; {_REMEDY}")
    return value


def _size(config: Mapping[str, Any], key: str, file: Path) -> int:
    """A whole number from 1. Raises KeyError where there is none."""
    value = config[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigurationError(f"{file}: {key}: expected a whole number from 1, got {value!r}; {_REMEDY}")
    return value


def _whole(config: Mapping[str, Any], key: str, file: Path) -> int | None:
    value = config.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise ConfigurationError(
            f"{file}: quantization_config.{key}: expected a whole number, got {value!r}; {_REMEDY}"
        )
    return value


def _rope_scaling(scaling: Mapping[str, Any]) -> str | None:
    """The type's name. Of the two keys that it may stand under, TensorRT-LLM reads `type` first."""
    value = scaling.get("type", scaling.get("rope_type"))
    return None if value is None else str(value)


def _has_tensor(folder: Path, name: str) -> bool:
    """Whether the checkpoint's files have a tensor. Of one pickled file nothing is known, so it has none."""
    index = next((p for p in (folder / INDEX, folder / "pytorch_model.bin.index.json") if p.is_file()), None)
    if index is not None:
        return name in read_json_object(index, _REMEDY).get("weight_map", {})
    return any(name in read_header(file) for file in folder.glob("*.safetensors"))


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, all there. Raises ConfigurationError naming what is missing."""
    index = folder / INDEX
    if index.is_file():
        names = sorted(set(read_json_object(index, _REMEDY).get("weight_map", {}).values()))
    else:
        names = sorted(f.name for f in (*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        what = f"{missing[0]}, which its index names" if missing else "*.safetensors"
        raise ConfigurationError(f"model: {folder} has no {what}; fetch the checkpoint again, weights included")
    return [folder / name for name in names]
