"""Declarations of a served model, read from Triton's gRPC or HTTP: inputs, outputs, batches, kind of response.

The only reader of a served model's configuration. Knows no model of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .protobuf import message_classes

MODEL_CONFIG = "/inference.GRPCInferenceService/ModelConfig"
"""One model's name (`questions.encode_model_name`), its configuration."""

_DATA_TYPES = (
    "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64",
    "STRING", "BF16",
)  # fmt: skip
"""By their numbers in Triton's model_config.proto, as are the fields below."""
_CONFIG_RESPONSE = message_classes(
    "model_config",
    {
        "Input": {"name": (1, "string"), "data_type": (2, "int32"), "optional": (8, "bool")},
        "Output": {"name": (1, "string")},
        "Step": {"model_name": (1, "string")},
        "Ensemble": {"step": (1, "Step*")},
        "TransactionPolicy": {"decoupled": (1, "bool")},
        "Config": {
            "name": (1, "string"),
            "max_batch_size": (4, "int32"),
            "input": (5, "Input*"),
            "output": (6, "Output*"),
            "ensemble_scheduling": (15, "Ensemble"),
            "model_transaction_policy": (19, "TransactionPolicy"),
        },
        "ConfigResponse": {"config": (1, "Config")},
    },
)["ConfigResponse"]


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """An input: `dtype` as in config.pbtxt (TYPE_INT32)."""

    dtype: str
    optional: bool


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model's configuration. `decoupled`: it may answer a request with several responses, or none.

    `max_batch_size`: the most rows of a request; 0 = its arrays have no dimension of rows. `steps`: an ensemble's models.
    """

    name: str
    inputs: Mapping[str, DeclaredInput]
    outputs: tuple[str, ...]
    max_batch_size: int = 1
    decoupled: bool = False
    steps: tuple[str, ...] = ()


def decode_model_config(data: bytes) -> DeclaredModel:
    """The answer of a MODEL_CONFIG call."""
    config = _CONFIG_RESPONSE.FromString(data).config
    return DeclaredModel(
        config.name,
        {i.name: DeclaredInput(_data_type(i.data_type), i.optional) for i in config.input},
        tuple(o.name for o in config.output),
        config.max_batch_size,
        config.model_transaction_policy.decoupled,
        tuple(step.model_name for step in config.ensemble_scheduling.step),
    )


def decode_model_config_json(config: Mapping[str, Any]) -> DeclaredModel:
    """The answer of HTTP's `GET /v2/models/NAME/config`."""
    return DeclaredModel(
        config["name"],
        {i["name"]: DeclaredInput(i["data_type"], bool(i.get("optional"))) for i in config["input"]},
        tuple(o["name"] for o in config["output"]),
        config.get("max_batch_size", 0),
        config.get("model_transaction_policy", {}).get("decoupled", False),
        tuple(step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", ())),
    )


def _data_type(number: int) -> str:
    return f"TYPE_{_DATA_TYPES[number] if number < len(_DATA_TYPES) else number}"
