"""CompletionWriter: a stream, joined, is the whole answer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from qwen_triton.text.tokenizer import Tokenizer
from tests.support.two_ways import AnswerCase, TwoWays, answer_cases, comparable


@pytest.fixture(scope="module")
def two_ways(qwen3: Tokenizer) -> TwoWays:
    return TwoWays(qwen3, chat=False)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(request_=answer_cases())
def test_a_stream_joined_is_the_whole_answer(two_ways: TwoWays, request_: AnswerCase) -> None:
    """Any text of the model, any cut, any end; more examples: python -m tests.tools.fuzz_answers."""
    assert comparable(two_ways.streamed(request_)) == comparable(two_ways.whole(request_))
