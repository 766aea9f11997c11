"""What the models' arrays are: numpy arrays by wire name, with a leading dimension of rows (prompts).

BYTES tensors are object arrays of bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InvalidRequest
from .contract import Tensor

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]

NUMPY = {
    "TYPE_STRING": np.object_,
    "TYPE_INT32": np.int32,
    "TYPE_INT64": np.int64,
    "TYPE_UINT64": np.uint64,
    "TYPE_FP32": np.float32,
    "TYPE_FP16": np.float16,
    "TYPE_BOOL": np.bool_,
}


def encode_strings(values: Sequence[Sequence[str | bytes]]) -> Array:
    """Rows of strings as a BYTES array [rows, n]; all rows have the same length."""
    array = np.empty((len(values), len(values[0]) if values else 0), dtype=np.object_)
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            array[r, c] = value.encode() if isinstance(value, str) else value
    return array


def check_input(tensor: Tensor, array: Array) -> None:
    """Raises InvalidRequest when an array's rank is not the tensor's (Triton checks types and fixed dimensions)."""
    rank = 1 + len(tensor.dims if tensor.reshape is None else tensor.reshape)
    if array.ndim != rank:
        raise InvalidRequest(f"expected {rank} dimensions with the batch, got {array.ndim}", tensor.name)
