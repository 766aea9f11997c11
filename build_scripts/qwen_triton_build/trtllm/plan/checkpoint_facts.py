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
        """Raises ConfigurationError naming the file that is missing, or cannot be read, or the key that it lacks."""
        file = folder / "config.json"
        config = read_json_object(file, _REMEDY)
        quantization = config.get("quantization_config") or {}
        try:
            return cls(
                model_type=config["model_type"],
                layers=config["num_hidden_layers"],
                heads=config["num_attention_heads"],
                kv_heads=config.get("num_key_value_heads", config["num_attention_heads"]),
                hidden_size=config["hidden_size"],
                intermediate_size=config["intermediate_size"],
                vocab_size=config["vocab_size"],
                max_positions=config.get("max_position_embeddings", 2048),
                weight_bytes=sum(file.stat().st_size for file in weight_files(folder)),
                quantized_by=quantization.get("quant_method"),
                bits=quantization.get("bits"),
                group_size=quantization.get("group_size"),
                desc_act=bool(quantization.get("desc_act")),
                symmetric=bool(quantization.get("sym", True)),
                tied=bool(config.get("tie_word_embeddings")),
                has_lm_head=not config.get("tie_word_embeddings") or _has_tensor(folder, "lm_head.weight"),
                rope_scaling=_rope_scaling(config),
                has_slow_tokenizer=all((folder / name).is_file() for name in ("vocab.json", "merges.txt")),
                has_generation_config=(folder / "generation_config.json").is_file(),
            )
        except KeyError as error:
            raise ConfigurationError(f"{file}: lacks {error}; is this a Qwen checkpoint?") from None


def _rope_scaling(config: Mapping[str, Any]) -> str | None:
    scaling = config.get("rope_scaling") or {}
    return scaling.get("rope_type", scaling.get("type"))


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
