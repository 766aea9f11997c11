"""KServe's infer messages over Triton's gRPC: encodes requests of arrays, decodes responses to raw outputs.

Responses keep their outputs as bytes: what they mean, and their shapes, is for the reader to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ..tensors.arrays import Arrays, encode_raw
from .protobuf import message_classes

STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
"""A call with streams both ways: requests, and the responses to all of them, told apart by their ids."""
INFER = "/inference.GRPCInferenceService/ModelInfer"
"""One request, one response."""

Parameter = bool | int | str

DATATYPES = {
    np.dtype(np.object_): "BYTES",
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.uint64): "UINT64",
    np.dtype(np.float16): "FP16",
    np.dtype(np.float32): "FP32",
}
FINAL_RESPONSE = "triton_enable_empty_final_response"
"""A request's parameter: its last response is marked, and is empty where nothing else was to say."""
_FINAL = "triton_final_response"
_FIELDS = {
    "Parameter": {"bool_param": (1, "bool"), "int64_param": (2, "int64"), "string_param": (3, "string")},
    "Tensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")},
    "InferRequest": {
        "model_name": (1, "string"),
        "id": (3, "string"),
        "parameters": (4, "Parameter{}"),
        "inputs": (5, "Tensor*"),
        "outputs": (6, "Tensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "InferResponse": {
        "id": (3, "string"),
        "parameters": (4, "Parameter{}"),
        "outputs": (5, "Tensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
    "StreamInferResponse": {"error_message": (1, "string"), "infer_response": (2, "InferResponse")},
}
"""Messages with their fields' numbers and types (see `message_classes`), as in KServe's grpc_predict_v2.proto."""


_CLASSES = message_classes("kserve", _FIELDS)
_REQUEST, _RESPONSE, _STREAM_RESPONSE = (
    _CLASSES[name] for name in ("InferRequest", "InferResponse", "StreamInferResponse")
)


_PARAMETERS: Mapping[type, str] = {bool: "bool_param", int: "int64_param", str: "string_param"}


class InferResponse(NamedTuple):
    """One response: raw tensor contents by output name, or an error.

    `final`: the last of its request; set where the request has the parameter `FINAL_RESPONSE`.
    """

    request_id: str
    outputs: dict[str, bytes]
    final: bool
    error: str


def encode_infer_request(
    model: str,
    arrays: Arrays,
    outputs: Iterable[str] = (),
    request_id: str = "",
    parameters: Mapping[str, Parameter] | None = None,
) -> bytes:
    """A request for these outputs, or for all of the model's. BYTES tensors are object arrays of bytes.

    `parameters`: those of the request; `FINAL_RESPONSE` among them asks for a marked last response.
    """
    inputs = tuple([(name, DATATYPES[array.dtype], array.shape) for name, array in arrays.items()])
    contents = [encode_raw(array) for array in arrays.values()]
    message = _REQUEST(id=request_id, raw_input_contents=contents)
    for key, value in (parameters or {}).items():
        setattr(message.parameters[key], _PARAMETERS[type(value)], value)
    return _form(model, inputs, tuple(outputs)) + bytes(message.SerializeToString())


@lru_cache(1024)
def _form(model: str, inputs: tuple[tuple[str, str, tuple[int, ...]], ...], outputs: tuple[str, ...]) -> bytes:
    """What requests of one form share, as a message. Messages of protobuf are merged by writing one behind the other."""
    message = _REQUEST(model_name=model)
    for name, datatype, shape in inputs:
        message.inputs.add(name=name, datatype=datatype, shape=shape)
    for name in outputs:
        message.outputs.add(name=name)
    return bytes(message.SerializeToString())


def decode_infer_response(data: bytes) -> InferResponse:
    """The response of an INFER call."""
    return _decode(_RESPONSE.FromString(data), "")


def decode_stream_response(data: bytes) -> InferResponse:
    """A response of a STREAM_INFER call. An error has the id of its request, or none where it is the stream's. Hot."""
    message = _STREAM_RESPONSE.FromString(data)
    return _decode(message.infer_response, message.error_message)


def _decode(response: Any, error: str) -> InferResponse:
    tensors, contents = response.outputs, response.raw_output_contents
    if len(tensors) == len(contents) == 1:  # most responses of a stream; the general way takes three times as long
        outputs = {tensors[0].name: contents[0]}
    else:
        outputs = {t.name: raw for t, raw in zip(tensors, contents, strict=True)}
    return InferResponse(response.id, outputs, response.parameters[_FINAL].bool_param, error)
