"""KServe's infer messages, as Triton's gRPC takes and gives them: arrays to bytes, bytes to raw outputs.

Their fields are described here, those that are used, so that neither gRPC's code nor Triton's client is needed. What
an answer's tensors mean, and their shapes, is for its reader to know.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from ..tensors.arrays import Arrays, encode_raw

STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
"""A call with streams both ways: requests, and the answers to all of them by their ids."""
INFER = "/inference.GRPCInferenceService/ModelInfer"
"""One request, one answer."""

Parameter = bool | int | str

_DATATYPES = {
    np.dtype(np.object_): "BYTES",
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.int32): "INT32",
    np.dtype(np.int64): "INT64",
    np.dtype(np.uint64): "UINT64",
    np.dtype(np.float16): "FP16",
    np.dtype(np.float32): "FP32",
}
_FINAL = "triton_final_response"
_FIELDS = {
    "Parameter": {"bool_param": (1, "bool"), "int64_param": (2, "int64"), "string_param": (3, "string")},
    "ParameterEntry": {"key": (1, "string"), "value": (2, "Parameter")},
    "Tensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "int64*")},
    "InferRequest": {
        "model_name": (1, "string"),
        "id": (3, "string"),
        "parameters": (4, "ParameterEntry*"),
        "inputs": (5, "Tensor*"),
        "outputs": (6, "Tensor*"),
        "raw_input_contents": (7, "bytes*"),
    },
    "InferResponse": {
        "id": (3, "string"),
        "parameters": (4, "ParameterEntry*"),
        "outputs": (5, "Tensor*"),
        "raw_output_contents": (6, "bytes*"),
    },
    "StreamInferResponse": {"error_message": (1, "string"), "infer_response": (2, "InferResponse")},
}
"""Messages with their fields' numbers and types («*»: repeated), as in KServe's grpc_predict_v2.proto."""


def _message_classes() -> dict[str, Any]:
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="kserve", package="kserve", syntax="proto3")
    for name, fields in _FIELDS.items():
        message = file.message_type.add(name=name)
        for field_name, (number, kind) in fields.items():
            label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            added = message.field.add(name=field_name, number=number, label=label)
            kind = kind.removesuffix("*")
            if kind in _FIELDS:
                added.type, added.type_name = field.TYPE_MESSAGE, f".kserve.{kind}"
            else:
                added.type = field.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"kserve.{name}")) for name in _FIELDS}


_CLASSES = _message_classes()
_REQUEST, _RESPONSE, _STREAM_RESPONSE = (
    _CLASSES[name] for name in ("InferRequest", "InferResponse", "StreamInferResponse")
)


class InferResponse(NamedTuple):
    """One response: its raw outputs by name, or an error. `final`: the request's last, where that was asked for."""

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
    """A request; without `outputs` all are answered. BYTES tensors are object arrays of bytes."""
    message = _REQUEST(model_name=model, id=request_id)
    for name, array in arrays.items():
        message.inputs.add(name=name, datatype=_DATATYPES[array.dtype], shape=array.shape)
        message.raw_input_contents.append(encode_raw(array))
    for name in outputs:
        message.outputs.add(name=name)
    for key, value in (parameters or {}).items():
        message.parameters.add(key=key, value=_parameter(value))
    return bytes(message.SerializeToString())


def _parameter(value: Parameter) -> Any:
    kinds = {bool: "bool_param", int: "int64_param", str: "string_param"}
    return _CLASSES["Parameter"](**{kinds[type(value)]: value})


def decode_infer_response(data: bytes) -> InferResponse:
    """The answer of an INFER call."""
    return _decode(_RESPONSE.FromString(data), "")


def decode_stream_response(data: bytes) -> InferResponse:
    """An answer of a STREAM_INFER call. An error has the id of its request, or none where it is the stream's."""
    message = _STREAM_RESPONSE.FromString(data)
    return _decode(message.infer_response, message.error_message)


def _decode(response: Any, error: str) -> InferResponse:
    tensors, contents = response.outputs, response.raw_output_contents
    if len(tensors) == len(contents) == 1:  # most pieces of a stream, at a third of the time
        outputs = {tensors[0].name: contents[0]}
    else:
        outputs = {t.name: raw for t, raw in zip(tensors, contents, strict=True)}
    parameters = response.parameters
    final = len(parameters) > 0 and any(p.value.bool_param for p in parameters if p.key == _FINAL)
    return InferResponse(response.id, outputs, final, error)
