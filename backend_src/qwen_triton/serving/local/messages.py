"""Messages between a text model and its clients on the same machine, in the form of the engine's messages.

To the model: generate (a request with the number by which its client knows it), cancel (number).
From it: hello (version, processes of the model), responses (an item for each: number, outputs or an error's text, whether it
is the request's last), leaving (the model takes no new requests and ends once its clients have disconnected).

An input is [shape, values]: a list of strings, or the raw values of numbers. An output is its raw contents, as in KServe.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ...engines.process.messages import encode_message
from ...errors import InvalidRequest
from ...tensors.arrays import NUMPY, Array, Arrays, encode_raw
from ...tensors.contract import Tensor

VERSION = 1
"""Raised with each change of the messages: a client of another version asks the server instead."""


class SentRequest(NamedTuple):
    """A request as it arrives. `inputs`: by name [shape, values], not decoded."""

    number: int
    request_id: str
    outputs: list[str]
    inputs: dict[str, Any]


def encode_request(number: int, request_id: str, outputs: Iterable[str], arrays: Arrays) -> bytes:
    """The message «generate» with the inputs `arrays`. BYTES tensors are object arrays of bytes."""
    inputs = {
        name: (array.shape, array.reshape(-1).tolist() if array.dtype == np.object_ else array.tobytes())
        for name, array in arrays.items()
    }
    return encode_message("generate", number, request_id, tuple(outputs), inputs)


def decode_input(tensor: Tensor, sent: Any) -> Array:
    """One input of such a message as an array of the tensor's type and the sent shape, read-only where it has numbers.

    Raises InvalidRequest with its name for values that are not of its type, or too few or many for the shape.
    """
    try:
        shape, values = sent
        dtype = NUMPY[tensor.dtype]
        if type(shape) is list and all(type(size) is int and size >= 0 for size in shape):
            if dtype is not np.object_:
                return np.frombuffer(values, dtype).reshape(shape)
            if type(values) is list and len(values) == math.prod(shape) and set(map(type, values)) <= {bytes}:
                array = np.empty(len(values), np.object_)
                array[:] = values
                return array.reshape(shape)
    except (TypeError, ValueError):
        pass
    raise InvalidRequest(f"expected {tensor.dtype} with as many values as its shape has", tensor.name)


def encode_outputs(arrays: Mapping[str, Array], wanted: frozenset[str]) -> dict[str, bytes]:
    """The raw contents of those outputs that the client asked for. Hot."""
    return {name: encode_raw(array) for name, array in arrays.items() if name in wanted}
