"""MessageWriter: a stream, put together by Anthropic's package, is the whole answer."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import HealthCheck, given, settings
from pydantic import TypeAdapter

from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton_openai.answers.messages.message import MessageContent, message_head, whole_message
from qwen_triton_openai.answers.messages.message_writer import MessageWriter
from qwen_triton_openai.answers.usage import UsageCount
from tests.support.two_ways import CALL, AnswerCase, TwoWays, answer_cases

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
KNOWN = [
    AnswerCase([["hello"]]),
    AnswerCase([[]]),
    AnswerCase([[f"let me see {CALL}"]], tools=True),
    AnswerCase([["a", CALL, "b", CALL]], tools=True),
    AnswerCase([[f"let me see {CALL}"]], tools=True, max_tokens=24),
    AnswerCase([['<tool_call>\n{"name": "f", "arguments": {oops', "</tool_call>"]], tools=True),
    AnswerCase([['<tool_call>\n{"name": "f", "arguments": {"a": "', '"\\ud83d\\ude00\\ud83d"}}']], tools=True),
    AnswerCase([['<tool_call>\n{"name": "g"}\n</tool_call>']], tools=True),
    AnswerCase([["hm", "</think>", "\n\n", "well"]], opened=True),
    AnswerCase([["hm"]], opened=True, max_tokens=1),
    AnswerCase([["see Observation"]], stop=("Observation",)),
]


@pytest.fixture(scope="module")
def two_ways(qwen3: Tokenizer) -> TwoWays:
    return TwoWays(qwen3)


def whole(two_ways: TwoWays, case: AnswerCase, *, show_thinking: bool = True) -> dict[str, Any]:
    """The whole message as its reader gets it, without what is random."""
    content = MessageContent(two_ways.new_choice(case)(), show_thinking=show_thinking)
    body = whole_message(message_head("qwen"), two_ways.whole_pieces(case), content, UsageCount(1))
    return comparable(Message.model_validate(orjson.loads(orjson.dumps(body))))


def events(two_ways: TwoWays, case: AnswerCase, *, show_thinking: bool = True) -> list[Any]:
    """The events of the stream, each with the name that its value has; pings left out, as clients do."""
    content = MessageContent(two_ways.new_choice(case)(), show_thinking=show_thinking)
    writer = MessageWriter(message_head("qwen"), content, UsageCount(1), "req-1")
    found = []
    for one in two_ways.written(case, writer).removesuffix("\n\n").split("\n\n"):
        name, data = one.split("\n")
        value = json.loads(data.removeprefix("data: "))
        assert name == f"event: {value['type']}"
        if value["type"] != "ping":
            found.append(EVENT.validate_python(value))
    return found


def put_together(found: list[Any]) -> dict[str, Any]:
    message, buffers = None, dict[int, bytes]()
    for event in found:
        message = accumulate_event(event=event, current_snapshot=message, json_bufs=buffers)
    assert message is not None
    return comparable(message)


def comparable(message: Any) -> dict[str, Any]:
    found: dict[str, Any] = message.model_dump(mode="json", exclude_none=True)
    assert found.pop("id").startswith("msg_")
    for block in found["content"]:
        if block["type"] == "tool_use":
            assert block.pop("id").startswith("toolu_")
    return found


def check(two_ways: TwoWays, case: AnswerCase) -> None:
    case = replace(case, texts=case.texts[:1], logprobs=False)
    for shown in (True, False):
        expected, found = whole(two_ways, case, show_thinking=shown), events(two_ways, case, show_thinking=shown)
        assert put_together(found) == expected, case
    blocks = expected["content"]
    if expected["stop_reason"] == "tool_use":
        assert any(block["type"] == "tool_use" for block in blocks), case
    kinds = [event.type for event in found]
    assert (kinds[0], kinds[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") == len(blocks), case
    assert found[0].message.usage.input_tokens == expected["usage"]["input_tokens"], (
        "the prompt is counted at the start"
    )


@pytest.mark.parametrize("case", KNOWN)
def test_known_cases_are_the_same_both_ways(two_ways: TwoWays, case: AnswerCase) -> None:
    check(two_ways, case)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=answer_cases())
def test_a_stream_put_together_is_the_whole_answer(two_ways: TwoWays, case: AnswerCase) -> None:
    """Any text of the model, any cut, any end."""
    check(two_ways, case)


@pytest.mark.parametrize(
    ("case", "reason", "sequence"),
    [
        (AnswerCase([["hi"]]), "end_turn", None),
        (AnswerCase([["one two three four"]], max_tokens=2), "max_tokens", None),
        (AnswerCase([["see Observation"]], stop=("Observation",)), "stop_sequence", "Observation"),
        (AnswerCase([[CALL]], tools=True), "tool_use", None),
        (AnswerCase([[CALL]], tools=False), "end_turn", None),
        (AnswerCase([[CALL]], tools=True, max_tokens=22), "max_tokens", None),
    ],
)
def test_the_reason(two_ways: TwoWays, case: AnswerCase, reason: str, sequence: str | None) -> None:
    """The stop sequence is named, and a call that was cut is none to execute."""
    found = whole(two_ways, case)
    assert (found["stop_reason"], found.get("stop_sequence")) == (reason, sequence)
