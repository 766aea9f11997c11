"""Arrays of token ids, numbers and strings, and their raw contents on the wire. Knows no tensor by name."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
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


def encode_padded(rows: Sequence[Sequence[Sequence[float]]], dtype: Any, *pads: float) -> Array:
    """Rows of sequences of numbers as [rows, sequences, longest], padded at the end. `pads`: one for all rows, or one each."""
    if len(rows) == 1 and len(rows[0]) == 1:  # nothing to pad, as in each piece of a stream
        return np.array(rows, dtype=dtype)
    longest = max((len(seq) for row in rows for seq in row), default=0)
    array = np.empty((len(rows), len(rows[0]) if rows else 0, longest), dtype=dtype)
    array[:] = np.array(pads, dtype=dtype).reshape(-1, 1, 1)
    for r, row in enumerate(rows):
        for s, sequence in enumerate(row):
            array[r, s, : len(sequence)] = sequence
    return array


def encode_word_list(rows: Sequence[Sequence[Sequence[int]]]) -> Array:
    """Lists of token-id words as TensorRT-LLM wants them: [rows, 2, n], flattened ids above, end offsets below.

    Unused elements hold 0 in the ids and -1 in the offsets (tensorrtllm_backend v0.14.0, `to_word_list_format`).
    """
    longest = max((max(sum(map(len, words)), len(words)) for words in rows), default=0)
    array = np.zeros((len(rows), 2, longest), dtype=np.int32)
    array[:, 1, :] = -1
    for r, words in enumerate(rows):
        flat = [token for word in words for token in word]
        array[r, 0, : len(flat)] = flat
        array[r, 1, : len(words)] = np.cumsum([len(word) for word in words], dtype=np.int32)
    return array


def decode_word_list(array: Array, name: str) -> list[tuple[tuple[int, ...], ...]]:
    """The inverse of encode_word_list: words of token ids for each row of [rows, 2, n].

    Raises InvalidRequest with the tensor's `name` for another shape, or offsets that do not rise or exceed the ids.
    """
    if array.ndim != 3 or array.shape[1] != 2:
        raise InvalidRequest(f"expected shape [rows, 2, n], got {list(array.shape)}", name)
    rows = []
    for ids, offsets in array.tolist():
        ends = [e for e in offsets if e > 0]
        if ends != sorted(ends) or (ends and ends[-1] > len(ids)):
            raise InvalidRequest("the second line must hold rising end offsets into the first", name)
        rows.append(tuple(tuple(ids[a:b]) for a, b in zip([0, *ends], ends, strict=False)))
    return rows


def encode_strings(values: Sequence[Sequence[str | bytes]]) -> Array:
    """Rows of strings, all of one length, as an array of bytes objects [rows, n] (KServe's BYTES)."""
    array = np.empty((len(values), len(values[0]) if values else 0), dtype=np.object_)
    for r, row in enumerate(values):
        for c, value in enumerate(row):
            array[r, c] = value.encode() if isinstance(value, str) else value
    return array


def encode_flat_strings(values: Iterable[str | bytes]) -> Array:
    """Strings as an array of bytes objects [n] (KServe's BYTES)."""
    encoded = [value.encode() if isinstance(value, str) else value for value in values]
    array = np.empty(len(encoded), dtype=np.object_)
    array[:] = encoded
    return array


def encode_raw(array: Array) -> bytes:
    """An array of any shape as on the wire: little-endian values in C order, each string (bytes) behind its length."""
    if array.dtype != np.object_:
        return array.tobytes()
    return b"".join(len(v).to_bytes(4, "little") + v for v in array.reshape(-1))


def decode_strings(raw: bytes) -> list[str]:
    """The strings of a raw BYTES tensor; bytes that are not UTF-8 become U+FFFD."""
    if len(raw) == 4 + int.from_bytes(raw[:4], "little"):
        return [raw[4:].decode("utf-8", "replace")]
    strings, at = [], 0
    while at < len(raw):
        end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
        strings.append(raw[at + 4 : end].decode("utf-8", "replace"))
        at = end
    return strings


def _numbers(form: str) -> Callable[[bytes], Sequence[Any]]:
    one = struct.Struct(f"<{form}")

    def decode(raw: bytes) -> Sequence[Any]:
        return one.unpack(raw) if len(raw) == one.size else struct.unpack(f"<{len(raw) // one.size}{form}", raw)

    return decode


RAW_DECODERS: Mapping[str, Callable[[bytes], Sequence[Any]]] = {
    "TYPE_STRING": decode_strings,
    "TYPE_INT32": _numbers("i"),
    "TYPE_FP32": _numbers("f"),
    "TYPE_BOOL": _numbers("?"),
}
"""By a tensor's type: raw contents to its values, flat."""


def check_input(tensor: Tensor, array: Array) -> None:
    """Raises InvalidRequest when an array is not of shape [rows, …] with the tensor's dimensions after the rows.

    Only their number is compared: Triton has checked types and fixed dimensions. One number a row may come without its last
    dimension, as from a model whose config.pbtxt reshapes it as stock's does.
    """
    rank = 1 + len(tensor.dims)
    if array.ndim != rank and not (array.ndim == 1 and tensor.dims == (1,) and array.dtype != np.object_):
        raise InvalidRequest(f"expected {rank} dimensions with the batch, got {array.ndim}", tensor.name)
