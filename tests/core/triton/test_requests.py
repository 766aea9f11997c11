"""A Triton request's inputs and parameters are read together, and checked."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.contract import BLS_INPUTS
from qwen_triton.triton.requests import RequestReader

TEXT = np.array([[b"hello"]], dtype=np.object_)
READER = RequestReader(BLS_INPUTS)


class FakeTensor:
    def __init__(self, name: str, array: Array) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array


class FakeRequest:
    """What a reader uses of Triton's InferenceRequest."""

    def __init__(self, parameters: str, **arrays: Array) -> None:
        self._parameters, self._arrays = parameters, arrays

    def parameters(self) -> str:
        return self._parameters

    def inputs(self) -> list[FakeTensor]:
        return [FakeTensor(name, array) for name, array in self._arrays.items()]


@pytest.mark.parametrize(
    ("text", "parameters"), [("", {}), ("{}", {}), ('{"timeout": 5, "id": "x"}', {"timeout": 5, "id": "x"})]
)
def test_inputs_and_parameters(text: str, parameters: dict[str, object]) -> None:
    content = READER.read(FakeRequest(text, text_input=TEXT))
    assert content.parameters == parameters
    assert content.arrays == {"text_input": TEXT}


def test_a_parameter_that_nobody_reads_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="max_token: no input has this name; did you mean max_tokens"):
        READER.read(FakeRequest('{"max_token": 3}', text_input=TEXT))


def test_an_input_of_another_rank_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="text_input: expected 2 dimensions with the batch, got 1"):
        READER.read(FakeRequest("{}", text_input=TEXT[0]))
