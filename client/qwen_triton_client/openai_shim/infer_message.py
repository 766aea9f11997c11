"""Arrays as KServe's infer messages and back, over the generated protobuf classes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2
from tritonclient.utils import np_to_triton_dtype

from qwen_triton.tensors import Array, Arrays


def encode_request(model: str, arrays: Arrays, outputs: Iterable[str] = (), request_id: str = "") -> Any:
    """A ModelInferRequest; without `outputs` all are answered."""
    message = service_pb2.ModelInferRequest(model_name=model, id=request_id)
    for name, array in arrays.items():
        tensor = message.inputs.add()
        tensor.name, tensor.datatype = name, np_to_triton_dtype(array.dtype)
        tensor.shape.extend(array.shape)
        message.raw_input_contents.append(_raw(array))
    for name in outputs:
        message.outputs.add().name = name
    return message


def _raw(array: Array) -> bytes:
    if array.dtype != np.object_:
        return array.tobytes()
    return b"".join(len(v).to_bytes(4, "little") + v for v in array.reshape(-1))


def raw_outputs(message: Any) -> dict[str, bytes]:
    """A ModelInferResponse's outputs by name."""
    return {output.name: raw for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)}
