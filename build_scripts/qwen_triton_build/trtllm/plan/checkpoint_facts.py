"""Reads the facts of a Hugging Face checkpoint that a build depends on, from its config.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qwen_triton.checkpoint.json_file import read_json_object
from qwen_triton.errors import ConfigurationError

_REMEDY = "give a Hugging Face checkpoint"


@dataclass(frozen=True)
class CheckpointFacts:
    """Sizes of the network; `weight_bytes` on disk; `quantized_by` None for plain weights, else gptq, awq, fp8 …"""

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
            )
        except KeyError as error:
            raise ConfigurationError(f"{file}: lacks {error}; is this a Qwen checkpoint?") from None


def weight_files(folder: Path) -> list[Path]:
    """The files that hold the weights, all there. Raises ConfigurationError naming what is missing."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = sorted(set(read_json_object(index, _REMEDY).get("weight_map", {}).values()))
    else:
        names = sorted(f.name for f in (*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing or not names:
        what = f"{missing[0]}, which its index names" if missing else "*.safetensors"
        raise ConfigurationError(f"model: {folder} has no {what}; fetch the checkpoint again, weights included")
    return [folder / name for name in names]
