"""Reads a TensorRT-LLM engine folder: config.json, which trtllm-build wrote, and one plan file for each rank.

The folder names neither tokenizer nor GPU, so whether it fits a GPU is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qwen_triton.checkpoint.json_file import read_json_object
from qwen_triton.errors import ConfigurationError

REMEDY = "give the folder that trtllm-build or `qwen-triton build` wrote (engine.engine_dir)"


@dataclass(frozen=True)
class BuiltEngine:
    """Facts of an engine that serving depends on. Lengths in tokens; `world_size` ranks, one per GPU."""

    folder: Path
    version: str
    architecture: str
    dtype: str
    logits_dtype: str
    vocab_size: int
    tp_size: int
    pp_size: int
    world_size: int
    gpus_per_node: int
    max_batch_size: int
    max_beam_width: int
    max_input_len: int
    max_seq_len: int
    max_num_tokens: int | None
    kv_cache_type: str | None
    attention_plugin: bool
    remove_input_padding: bool
    paged_kv_cache: bool
    paged_context: bool
    tokens_per_block: int
    gather_context_logits: bool
    gather_generation_logits: bool

    @classmethod
    def read(cls, folder: Path) -> BuiltEngine:
        """Raises ConfigurationError for a folder, a file or a key that is not there, naming it."""
        config = read_json_object(folder / "config.json", REMEDY)
        if "version" not in config:
            raise ConfigurationError(
                f"{folder}/config.json: has no version: older than TensorRT-LLM 0.8; build it again"
            )
        try:
            return cls(folder, str(config["version"]), **_model(config), **_built(config))
        except (KeyError, TypeError) as error:
            raise ConfigurationError(
                f"{folder}/config.json: lacks {error}, which every engine has; build it again"
            ) from None

    def rank_files(self) -> list[Path]:
        """The plan files of all ranks, whether they exist or not."""
        return [self.folder / f"rank{rank}.engine" for rank in range(self.world_size)]

    def stray_rank_files(self) -> list[Path]:
        """Existing plan files of ranks that this engine does not have, left by an earlier build."""
        return sorted(set(self.folder.glob("rank*.engine")) - set(self.rank_files()))


def _model(config: dict[str, Any]) -> dict[str, Any]:
    model = config["pretrained_config"]
    mapping = model["mapping"]
    tp, pp = mapping["tp_size"], mapping.get("pp_size", 1)
    return {
        "architecture": model["architecture"],
        "dtype": model["dtype"],
        "logits_dtype": model.get("logits_dtype", "float32"),
        "vocab_size": model["vocab_size"],
        "tp_size": tp,
        "pp_size": pp,
        "world_size": tp * pp * mapping.get("cp_size", 1),
        "gpus_per_node": mapping.get("gpus_per_node", 8),
    }


def _built(config: dict[str, Any]) -> dict[str, Any]:
    built = config["build_config"]
    plugins = built["plugin_config"]
    return {
        **{key: built.get(key, 0) for key in ("max_batch_size", "max_beam_width", "max_input_len", "max_seq_len")},
        "max_num_tokens": built.get("max_num_tokens"),
        "kv_cache_type": built.get("kv_cache_type"),
        "attention_plugin": plugins["gpt_attention_plugin"] is not None,
        "remove_input_padding": plugins["remove_input_padding"],
        "paged_kv_cache": plugins["paged_kv_cache"],
        "paged_context": plugins["use_paged_context_fmha"],
        "tokens_per_block": plugins["tokens_per_block"],
        "gather_context_logits": built.get("gather_context_logits", False),
        "gather_generation_logits": built.get("gather_generation_logits", False),
    }
