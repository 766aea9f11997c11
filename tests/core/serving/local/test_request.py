"""A local client's request is read as one of Triton's: the same arrays, the same checks, the same words of refusal."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.engines.process.messages import MessageReader
from qwen_triton.errors import InvalidRequest
from qwen_triton.serving.local.messages import SentRequest, encode_request
from qwen_triton.serving.local.request import LocalRequest
from qwen_triton.tensors.contract import BLS, BLS_INPUTS
from qwen_triton.tensors.text_inputs import decode_generate, encode_generate
from qwen_triton.triton.requests import RequestReader
from qwen_triton.types import GenerateRequest, SamplingParams, StopConditions, TokenBias

DECLARED = {tensor.name: tensor for tensor in BLS_INPUTS}
REQUESTS = [
    GenerateRequest(prompt="é 你好 🙂"),
    GenerateRequest(prompt=""),
    GenerateRequest(prompt="x" * 100_000, stream=True),
    GenerateRequest(token_ids=(1, 2, 151_935)),
    GenerateRequest(
        messages=({"role": "user", "content": "hi"},), tools=({"type": "function"},), parallel_tool_calls=False
    ),
    GenerateRequest(
        prompt="x",
        sampling=SamplingParams(max_tokens=9, temperature=0.25, top_k=5, seed=2**64 - 1, logprobs=3, n=2),
        stop=StopConditions(("one", "two"), token_ids=(7, 8), include_in_output=True),
        bias=TokenBias(("bad", "worse"), (("good", 0.5),), {5: -1.5}),
        stream=True,
    ),
]


def received(data: bytes) -> LocalRequest:
    ((_, *parts),) = MessageReader().feed(data)
    return LocalRequest(SentRequest(*parts), DECLARED)


@pytest.mark.parametrize("meant", REQUESTS, ids=range(len(REQUESTS)))
def test_a_request_is_read_as_it_was_meant(meant: GenerateRequest) -> None:
    reader, sent = RequestReader(BLS), received(encode_request(1, "ü", ["text_output"], encode_generate(meant)))
    reader.check_envelope(sent)
    content = reader.read(sent)
    assert decode_generate(content.arrays) == decode_generate(encode_generate(meant))
    assert (content.request_id, content.parameters, sent.timeout()) == ("ü", {}, 0)
    assert sent.requested_output_names() == ["text_output"]
    assert decode_generate(content.kept_arrays()) == decode_generate(content.arrays)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"nothing": [[1, 1], [b"x"]]}, "nothing: the model has no such input"),
        ({"top_k": [[1, 1], [b"x"]]}, "top_k: expected TYPE_INT32 with as many values as its shape has"),
        ({"text_input": [[1, 1], b"x"]}, "text_input: expected TYPE_STRING with as many values as its shape has"),
        ({"text_input": [[1], [b"x"]]}, "text_input: expected 2 dimensions with the batch, got 1"),
    ],
)
def test_an_input_that_does_not_fit_is_refused_by_name(inputs: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        RequestReader(BLS).read(LocalRequest(SentRequest(1, "", [], inputs), DECLARED))
    assert str(refused.value) == said


def test_limits_are_kept() -> None:
    reader = RequestReader(BLS)
    with pytest.raises(InvalidRequest, match=r"^id: "):
        reader.check_envelope(LocalRequest(SentRequest(1, "x" * 1_000_000, [], {}), DECLARED))
    with pytest.raises(InvalidRequest, match=r"^outputs: "):
        reader.check_envelope(LocalRequest(SentRequest(1, "", ["x"] * 1_000_000, {}), DECLARED))
