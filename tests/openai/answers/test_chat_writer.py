"""ChatWriter: a stream, put together by OpenAI's package, is the whole answer."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings

from qwen_triton.text.tokenizer import Tokenizer
from tests.support.two_ways import CALL, AnswerCase, TwoWays, answer_cases, comparable

KNOWN = [
    # what was not the same once
    AnswerCase([[f"let me see {CALL}"]], tools=True, max_tokens=24),
    AnswerCase([['<tool_call>\n{"name": "f", "arguments": {"a": "', "Observation", '"}}\n</tool_call>']], tools=True,
          stop=("Observation",)),
    AnswerCase([['<tool_call>\n{"name": "f", "arguments": {oops', "</tool_call>"]], tools=True),
    AnswerCase([[CALL, CALL]], tools=True, parallel=False),
    AnswerCase([[CALL]], tools=True),
    AnswerCase([[]]),
    AnswerCase([["a", CALL], ["</think>"], [CALL]], tools=True, opened=True, each=True),
    AnswerCase([["partial", "\u2028"]], logprobs=True),
]  # fmt: skip


@pytest.fixture(scope="module")
def two_ways(qwen3: Tokenizer) -> TwoWays:
    return TwoWays(qwen3)


def check(two_ways: TwoWays, request: AnswerCase) -> None:
    """Both ways and the client library give the same, and `tool_calls` means that each call can be executed."""
    whole, streamed = two_ways.whole(request), two_ways.streamed(request)
    assert comparable(streamed) == comparable(whole), request
    for choice in whole["choices"]:
        calls = choice["message"].get("tool_calls", ())
        if choice["finish_reason"] == "tool_calls":
            assert calls
            assert all(isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls), request
        if request.tools and not request.parallel:
            assert len(calls) <= 1, request
    if len(request.texts) == 1:
        [choice], result = comparable(whole)["choices"], two_ways.by_client(request)
        assert (result.content, result.reasoning) == (choice["content"] or "", choice["reasoning_content"] or "")
        assert [("function", call.name, call.arguments) for call in result.tool_calls] == choice["calls"]
        assert result.finish_reason == choice["finish_reason"], request


@pytest.mark.parametrize("request_", KNOWN)
def test_known_cases_are_the_same_both_ways(two_ways: TwoWays, request_: AnswerCase) -> None:
    check(two_ways, request_)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(request_=answer_cases())
def test_a_stream_put_together_is_the_whole_answer(two_ways: TwoWays, request_: AnswerCase) -> None:
    """Any text of the model, any cut, any end; more examples: python -m tests.tools.fuzz_answers."""
    check(two_ways, request_)
