"""Messages between a text model and a client on its machine: arrays come back as they were; what does not fit is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.engines.process.messages import MessageReader
from qwen_triton.errors import InvalidRequest
from qwen_triton.serving.local.messages import SentRequest, decode_input, encode_outputs, encode_request
from qwen_triton.tensors.arrays import NUMPY, Array, encode_raw
from qwen_triton.tensors.contract import Tensor

SHAPES = st.lists(st.integers(0, 4), min_size=0, max_size=4).map(tuple)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | st.binary(), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def tensors(draw: st.DrawFn) -> tuple[Tensor, Array]:
    """A tensor of any type with an array of any shape, some empty, some with many strings."""
    kind, shape = draw(st.sampled_from(sorted(NUMPY))), draw(SHAPES)
    count, dtype = int(np.prod(shape)), NUMPY[kind]
    if dtype is np.object_:
        array = np.empty(count, np.object_)
        array[:] = draw(st.lists(st.binary(max_size=20), min_size=count, max_size=count))
    elif dtype is np.bool_:
        array = np.array(draw(st.lists(st.booleans(), min_size=count, max_size=count)), np.bool_)
    else:
        size = count * np.dtype(dtype).itemsize
        array = np.frombuffer(draw(st.binary(min_size=size, max_size=size)), dtype)
    return Tensor("some_input", kind, shape), array.reshape(shape)


def sent(data: bytes) -> SentRequest:
    """The request as the model's process reads it."""
    ((kind, *parts),) = MessageReader().feed(data)
    assert kind == "generate"
    return SentRequest(*parts)


@settings(max_examples=300, deadline=None)
@given(tensors())
def test_an_input_comes_back_as_it_was_sent(case: tuple[Tensor, Array]) -> None:
    """Of every type and shape, empty ones included; numbers to the bit, also those that are no number."""
    tensor, array = case
    decoded = decode_input(tensor, sent(encode_request(1, "", (), {"some_input": array})).inputs["some_input"])
    assert (decoded.shape, decoded.dtype) == (array.shape, array.dtype)
    if array.dtype == np.object_:
        assert decoded.tolist() == array.tolist()
    else:
        assert decoded.tobytes() == array.tobytes()


def test_a_request_comes_back_with_its_number_id_and_outputs() -> None:
    """An array that is no copy of its memory in order is sent in order."""
    array = np.arange(6, dtype=np.int32).reshape(2, 3).T
    request = sent(encode_request(7, "ünï", ["text_output", "x"], {"input_ids": array}))
    assert (request.number, request.request_id, request.outputs) == (7, "ünï", ["text_output", "x"])
    assert decode_input(Tensor("input_ids", "TYPE_INT32", (3,)), request.inputs["input_ids"]).tolist() == array.tolist()


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("TYPE_INT32", [[1, 2], b"1234"]),
        ("TYPE_INT32", [[1], b"12345678"]),
        ("TYPE_INT32", [[1], b"123"]),
        ("TYPE_INT32", [[-1], b"1234"]),
        ("TYPE_INT32", [[2**64 - 1], b"1234"]),
        ("TYPE_INT32", [[1], [5]]),
        ("TYPE_INT32", [["1"], b"1234"]),
        ("TYPE_INT32", [[1.0], b"1234"]),
        ("TYPE_INT32", [[1] * 40, b"1234"]),
        ("TYPE_INT32", [1, b"1234"]),
        ("TYPE_INT32", [[1], b"1234", 1]),
        ("TYPE_INT32", None),
        ("TYPE_FP32", "text"),
        ("TYPE_BOOL", [[1], "t"]),
        ("TYPE_BOOL", [[2], b"\1"]),
        ("TYPE_STRING", [[2], [b"one"]]),
        ("TYPE_STRING", [[1], [b"one", b"two"]]),
        ("TYPE_STRING", [[1], ["text"]]),
        ("TYPE_STRING", [[1], [1]]),
        ("TYPE_STRING", [[3], b"one"]),
        ("TYPE_STRING", [[1], {b"one": b"two"}]),
        ("TYPE_STRING", [[-1, -1], [b"one"]]),
        ("TYPE_STRING", [[1.0], [b"one"]]),
    ],
)
def test_values_that_do_not_fit_are_refused_with_the_inputs_name(kind: str, given: Any) -> None:
    read = msgpack.unpackb(msgpack.packb(given), strict_map_key=False)
    with pytest.raises(
        InvalidRequest, match=rf"^top_k: expected {kind} with as many values as its shape has$"
    ) as refused:
        decode_input(Tensor("top_k", kind, (1,)), read)
    assert refused.value.field == "top_k"


@settings(max_examples=300, deadline=None)
@given(ANYTHING, st.sampled_from(sorted(NUMPY)))
def test_whatever_is_sent_is_an_array_of_the_type_or_refused(given: Any, kind: str) -> None:
    try:
        array = decode_input(Tensor("top_k", kind, (1,)), given)
    except InvalidRequest:
        return
    assert array.dtype == NUMPY[kind]
    assert array.dtype != np.object_ or {type(value) for value in array.reshape(-1)} <= {bytes}


def test_outputs_that_were_not_asked_for_are_not_sent() -> None:
    text = np.array([["é".encode()]], np.object_)
    arrays = {"text_output": text, "logprobs": np.zeros((1, 2), np.float32)}
    assert encode_outputs(arrays, frozenset({"text_output", "nothing"})) == {"text_output": encode_raw(text)}
