"""Questions about a server and its models over gRPC: whether they are ready, and the server's name.

Each is one request and one answer; the paths name the call. What a model declares is in `declared_model`.
"""

from __future__ import annotations

from .protobuf import message_classes

SERVER_READY = "/inference.GRPCInferenceService/ServerReady"
"""An empty message; whether the server takes requests."""
MODEL_READY = "/inference.GRPCInferenceService/ModelReady"
"""A model's name; whether it is loaded."""
SERVER_METADATA = "/inference.GRPCInferenceService/ServerMetadata"
"""An empty message; the server's name and version."""

_CLASSES = message_classes(
    "questions",
    {
        "ModelName": {"name": (1, "string")},
        "Ready": {"ready": (1, "bool")},
        "Server": {"name": (1, "string"), "version": (2, "string")},
    },
)


def encode_model_name(name: str) -> bytes:
    """The message of a question about one model."""
    return bytes(_CLASSES["ModelName"](name=name).SerializeToString())


def decode_ready(data: bytes) -> bool:
    """The answer of a SERVER_READY or MODEL_READY call."""
    return bool(_CLASSES["Ready"].FromString(data).ready)


def decode_server_name(data: bytes) -> str:
    """The answer of a SERVER_METADATA call, as «triton 2.51.0»."""
    server = _CLASSES["Server"].FromString(data)
    return f"{server.name} {server.version}"
