"""What upstream's converter did with a checkpoint of a shape that it was run on: the fake converter does the same."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.folders import CONTRACT

_SIZES = {
    "family": "model_type",
    "heads": "num_attention_heads",
    "kv_heads": "num_key_value_heads",
    "hidden": "hidden_size",
    "intermediate": "intermediate_size",
    "layers": "num_hidden_layers",
    "vocab": "vocab_size",
}
_QUANTIZED = {"bits": "bits", "group": "group_size", "desc_act": "desc_act", "sym": "sym"}
_VARIABLE = "TRTLLM_DISABLE_UNIFIED_CONVERTER"
_RAW = {
    **dict.fromkeys(("use_embedding_sharing", "use_parallel_embedding", "load_model_on_cpu", "per_group"), False),
    "disable_weight_only_quant_plugin": False,
    "embedding_sharding_dim": 0,
    "moe_tp_size": -1,
    "moe_ep_size": -1,
}
"""Flags that facts have beside those of a deployment's keys, each with its default."""
_CALIBRATION = ("vocab.json", "merges.txt", "generation_config.json")


@dataclass(frozen=True)
class ShownCheckpoint:
    """What the converter sees of a checkpoint. `lacks`: files that calibration reads and that are not there."""

    config: Mapping[str, Any]
    lacks: Sequence[str] = ()
    has_head: bool = False

    @classmethod
    def read(cls, folder: Path) -> ShownCheckpoint:
        config = json.loads((folder / "config.json").read_text())
        head = any(b'"lm_head.weight"' in file.read_bytes() for file in folder.glob("*.safetensors"))
        return cls(config, [name for name in _CALIBRATION if not (folder / name).is_file()], head)

    def is_shape(self, row: Mapping[str, Any], *, calibrated: bool) -> bool:
        """Whether a model of the table is of this shape."""
        quantized = self.config.get("quantization_config") or {}
        tied = bool(self.config.get("tie_word_embeddings"))
        return (
            row["kind"] == "model"
            and row["format"] == "safetensors"
            and all(self.config.get(key) == row[name] for name, key in _SIZES.items())
            and row["tied"] == tied
            and (not tied or bool(row.get("lm_head_in_file")) == self.has_head)
            and row["weights"] == quantized.get("quant_method", "plain")
            and (not quantized or all(quantized.get(key) == row[name] for name, key in _QUANTIZED.items()))
            and row.get("rope_scaling") == self.config.get("rope_scaling")
            and (not calibrated or row.get("lacks", []) == list(self.lacks))
        )


@cache
def _table() -> list[dict[str, Any]]:
    return list(json.loads((CONTRACT / "converter_facts.json").read_text()))


def failure_of(line: str, seen: ShownCheckpoint, sent: Namespace, environment: Mapping[str, str]) -> str | None:
    """The exception with which the converter ended; None where it ended well, or was not run on such a checkpoint."""
    calibrated = bool(sent.smoothquant or sent.int8_kv_cache)
    shapes = {row["name"] for row in _table() if seen.is_shape(row, calibrated=calibrated)}
    facts = (fact for fact in _table() if _is(fact, line, shapes, sent, environment))
    return next((f"{fact['exception']}: {fact['message']}" for fact in facts), None)


def _is(fact: Mapping[str, Any], line: str, shapes: set[str], sent: Namespace, environment: Mapping[str, str]) -> bool:
    return (
        fact["kind"] == "fact"
        and fact["upstream"] == line
        and fact["result"] == "fails"
        and _flags(sent) in (fact.get("convert_flags") or [{}])
        and bool(shapes & set(fact["models"]))
        and _quantization(sent) in fact["quantization"]
        and ("int8" if sent.int8_kv_cache else "model") in fact["kv_cache"]
        and sent.dtype in fact["dtype"]
        and (sent.tp_size in fact["tp"] and sent.pp_size in fact["pp"])
        and bool(fact.get("environment")) == (environment.get(_VARIABLE) == "1")
    )


def _flags(sent: Namespace) -> dict[str, Any]:
    return {name: getattr(sent, name) for name, off in _RAW.items() if getattr(sent, name, off) != off}


def _quantization(sent: Namespace) -> str:
    if sent.smoothquant:
        return "smoothquant"
    if not sent.use_weight_only:
        return "none"
    precision = str(sent.weight_only_precision)
    return precision if precision == "int4_gptq" else f"{precision}_weight_only"
