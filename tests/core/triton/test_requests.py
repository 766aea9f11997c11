"""A Triton request's inputs and parameters are read together, and checked."""

from __future__ import annotations

import numpy as np
import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.contract import BLS
from qwen_triton.tensors.text_inputs import decode_generate
from qwen_triton.triton.requests import RequestContent, RequestReader

TEXT = np.array([[b"hello"]], dtype=np.object_)
READER = RequestReader(BLS)


class FakeTensor:
    def __init__(self, name: str, array: Array) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array


class FakeRequest:
    """What a reader uses of Triton's InferenceRequest."""

    def __init__(self, parameters: str | bytes, request_id: bytes = b"", **arrays: Array) -> None:
        self._parameters, self._id, self._arrays = parameters, request_id, arrays

    def requested_output_names(self) -> list[str]:
        return []

    def request_id(self) -> str:
        return self._id.decode()

    def parameters(self) -> str:
        return self._parameters if isinstance(self._parameters, str) else self._parameters.decode()

    def inputs(self) -> list[FakeTensor]:
        return [FakeTensor(name, array) for name, array in self._arrays.items()]


@pytest.mark.parametrize(
    ("text", "parameters"), [("", {}), ("{}", {}), ('{"timeout": 5, "id": "x"}', {"timeout": 5, "id": "x"})]
)
def test_inputs_and_parameters(text: str, parameters: dict[str, object]) -> None:
    content = READER.read(FakeRequest(text, text_input=TEXT))
    assert content.parameters == parameters
    assert content.arrays == {"text_input": TEXT}


def test_what_is_refused_has_no_limit_to_keep_to() -> None:
    """An image of any shape and size is read as it is, for the refusal that says that there are no images."""
    image = np.ones((1, 1, 3, 1200, 1200), np.float16)
    assert READER.read(FakeRequest("", text_input=TEXT, image_input=image)).arrays["image_input"] is image
    with pytest.raises(InvalidRequest, match="image_input: images are not supported by this model; leave it out"):
        decode_generate({"text_input": TEXT, "image_input": image})


def read(request: FakeRequest) -> RequestContent:
    """As a model reads a request."""
    READER.check_envelope(request)
    return READER.read(request)


def test_the_id_of_a_request() -> None:
    assert READER.read(FakeRequest("", b"7", text_input=TEXT)).request_id == "7"


@pytest.mark.parametrize(
    ("parameters", "request_id", "message"),
    [
        (b'{"a": 1, "b\xff": 2}', b"", "b\ufffd: a request parameter's name and value must be valid UTF-8"),
        (
            b'{"Cookie": "secret", "X-Name": "J\xe9"}',
            b"",
            "X-Name: a request parameter's name and value must be valid UTF-8",
        ),
        (b"\xff" * (1 << 17), b"", "parameters: a request parameter's name and value must be valid UTF-8"),
        ("", b"\xff", "id: is not valid UTF-8"),
    ],
)
def test_what_is_not_utf8_is_refused_by_name_without_its_value(
    parameters: str | bytes, request_id: bytes, message: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        read(FakeRequest(parameters, request_id, text_input=TEXT))
    assert str(refusal.value) == message


def test_a_misspelt_input_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="max_token: no input has this name; did you mean max_tokens"):
        READER.read(FakeRequest('{"max_token": 3}', text_input=TEXT))


def test_an_input_of_another_rank_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="text_input: expected 2 dimensions with the batch, got 1"):
        READER.read(FakeRequest("{}", text_input=TEXT[0]))
    with pytest.raises(InvalidRequest, match="seed: expected 2 dimensions with the batch, got 3"):
        READER.read(FakeRequest("{}", text_input=TEXT, seed=np.zeros((1, 1, 1), np.uint64)))


def test_one_number_a_row_may_come_without_its_last_dimension() -> None:
    """As from a configuration that was rendered with stock's reshape."""
    number = np.array([5], np.uint64)
    assert READER.read(FakeRequest("{}", text_input=TEXT, seed=number)).arrays["seed"] is number
