"""A request of a client on the same machine, in the form in which `triton.requests` reads Triton's own."""

from __future__ import annotations

from collections.abc import Mapping

from ...errors import InvalidRequest
from ...tensors.arrays import Array
from ...tensors.contract import Tensor
from .messages import SentRequest, decode_input


class LocalTensor:
    """An input with its name."""

    def __init__(self, name: str, array: Array) -> None:
        self._name = name
        self._array = array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array


class LocalRequest:
    """Has the methods of Triton's `InferenceRequest` that this project uses.

    `declared`: the model's inputs by name.
    """

    def __init__(self, sent: SentRequest, declared: Mapping[str, Tensor]) -> None:
        self._sent = sent
        self._declared = declared

    def request_id(self) -> str:
        return self._sent.request_id

    def requested_output_names(self) -> list[str]:
        return self._sent.outputs

    def parameters(self) -> str:
        return ""

    def timeout(self) -> int:
        return 0

    def inputs(self) -> list[LocalTensor]:
        """Raises InvalidRequest for an input that the model does not have, or whose values do not fit."""
        if unknown := self._sent.inputs.keys() - self._declared.keys():
            raise InvalidRequest("the model has no such input", min(unknown))
        return [LocalTensor(name, decode_input(self._declared[name], sent)) for name, sent in self._sent.inputs.items()]
