"""What upstream's converter did with a checkpoint of a shape that it was run on: the fake converter does the same."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping
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
_VARIABLE = "TRTLLM_DISABLE_UNIFIED_CONVERTER"


def failure_of(line: str, config: Mapping[str, Any], sent: Namespace, environment: Mapping[str, str]) -> str | None:
    """The exception with which the converter ended; None where it ended well, or was not run on such a checkpoint."""
    table = json.loads((CONTRACT / "converter_facts.json").read_text())
    shapes = {
        row["name"]
        for row in table
        if row["kind"] == "model"
        and all(config.get(key) == row[name] for name, key in _SIZES.items())
        and row["tied"] == bool(config.get("tie_word_embeddings"))
        and row["weights"] == "plain"
        and not row.get("lacks")
        and row["format"] == "safetensors"
        and row.get("rope_scaling") == config.get("rope_scaling")
    }
    return next(
        (f"{fact['exception']}: {fact['message']}" for fact in table if _is(fact, line, shapes, sent, environment)),
        None,
    )


def _is(fact: Mapping[str, Any], line: str, shapes: set[str], sent: Namespace, environment: Mapping[str, str]) -> bool:
    return (
        fact["kind"] == "fact"
        and fact["upstream"] == line
        and fact["result"] == "fails"
        and not fact.get("convert_flags")
        and bool(shapes & set(fact["models"]))
        and _quantization(sent) in fact["quantization"]
        and ("int8" if sent.int8_kv_cache else "model") in fact["kv_cache"]
        and sent.dtype in fact["dtype"]
        and (sent.tp_size in fact["tp"] and sent.pp_size in fact["pp"])
        and bool(fact.get("environment")) == (environment.get(_VARIABLE) == "1")
    )


def _quantization(sent: Namespace) -> str:
    if sent.smoothquant:
        return "smoothquant"
    return f"{sent.weight_only_precision}_weight_only" if sent.use_weight_only else "none"
