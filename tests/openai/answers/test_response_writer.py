"""ResponseWriter: the events of a stream, put together, are the whole response, and OpenAI's package takes them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from openai import Omit
from openai._models import construct_type_unchecked
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent

from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import GenerateRequest
from qwen_triton_openai.answers.blocks import BlockReader
from qwen_triton_openai.answers.chat_message import ChatChoice
from qwen_triton_openai.answers.response_object import ResponseObject
from qwen_triton_openai.answers.response_writer import ResponseWriter
from qwen_triton_openai.answers.usage import UsageCount
from qwen_triton_openai.bodies.responses.plan import request_fields
from qwen_triton_openai.errors import ApiError
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import answer, named_events
from tests.support.two_ways import CALL, TOOLS, AnswerCase, TwoWays, answer_cases

KNOWN = [
    AnswerCase([["a", CALL, "\n", CALL, "Paris "]], tools=True, opened=False),
    AnswerCase([["Paris ", "\n</think>\n\n", CALL]], tools=True, opened=True),
    AnswerCase([[CALL]], tools=True, max_tokens=20),
    AnswerCase([["<think>", "a"]], max_tokens=2),
    AnswerCase([[]]),
    AnswerCase([["partial", "\u2028"]], each=True),
]
_ID = re.compile(r"\b(resp|msg|rs|fc|call)_[0-9a-f]+")


def response_of(choice: ChatChoice, usage: UsageCount) -> ResponseObject:
    fields = request_fields({"model": "qwen", "input": "hi"}, ShimSettings())
    return ResponseObject(fields, BlockReader(choice, always_text=True), usage)


def plain(value: Any) -> Any:
    """Without what is random or a time: ids, and when it was created and completed."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if k not in ("created_at", "completed_at")}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return _ID.sub(r"\1_0", value) if isinstance(value, str) else value


def put_together(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items as their deltas say, after checks of the order and the numbers of all events."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    items: list[dict[str, Any]] = []
    text = ""
    for event in events[2:-1]:
        kind = event["type"]
        assert event["output_index"] == len(items) - (kind != "response.output_item.added")
        if kind == "response.output_item.added":
            items.append(event["item"])
            text = ""
            continue
        item = items[-1]
        assert event.get("item_id", item["id"]) == item["id"]
        if kind == "response.content_part.added":
            item["content"].append(event["part"])
        elif kind.endswith(".delta"):
            text += event["delta"]
        elif kind == "response.content_part.done":
            assert event["part"] == {**item["content"][0], "text": text}
            item["content"][0]["text"] = text
        elif kind == "response.output_item.done":
            if item["type"] == "function_call":
                item["arguments"] = text
            assert {**item, "status": event["item"]["status"]} == event["item"]
            item["status"] = event["item"]["status"]
        else:
            assert kind.endswith(".done")
            assert (event["arguments"] if "arguments" in event else event["text"]) == text
    return items


def check(two_ways: TwoWays, case: AnswerCase) -> None:
    case = replace(case, texts=case.texts[:1], logprobs=False)
    usage = UsageCount(1)
    writer = ResponseWriter(response_of(two_ways.new_choice(case)(), usage), usage)
    streamed = named_events(two_ways.written(case, writer))
    final = streamed[-1]["response"]
    assert put_together(streamed) == final["output"]
    whole = response_of(two_ways.new_choice(case)(), counted := UsageCount(1)).whole(two_ways.whole_pieces(case))
    assert counted.completion_tokens == whole["usage"]["output_tokens"]
    assert plain(final) == plain(whole), case
    assert streamed[-1]["type"] == f"response.{whole['status']}"
    check_with_the_package(streamed)
    check_with_chat(two_ways.whole(case), whole)


def check_with_the_package(events: list[dict[str, Any]]) -> None:
    """Its accumulator raises for items that are not complete and ids that change, its types for what they do not know."""
    Response.model_validate(events[-1]["response"])
    state = ResponseStreamState[Any](input_tools=Omit(), text_format=Omit())
    for event in events:
        state.handle_event(construct_type_unchecked(type_=ResponseStreamEvent, value=event))


def check_with_chat(chat: dict[str, Any], response: dict[str, Any]) -> None:
    """A chat completion of the same pieces says the same."""
    [choice] = chat["choices"]
    texts = dict.fromkeys(("message", "reasoning"), "")
    for item in response["output"]:
        if item["type"] in texts:
            texts[item["type"]] += item["content"][0]["text"]
    calls = [(i["name"], i["arguments"]) for i in response["output"] if i["type"] == "function_call"]
    message = choice["message"]
    assert (message["content"] or "", message.get("reasoning_content", "")) == (texts["message"], texts["reasoning"])
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls", ())] == calls
    assert (choice["finish_reason"] == "length") == (response["status"] == "incomplete")


@pytest.fixture(scope="module")
def two_ways(qwen3: Tokenizer) -> TwoWays:
    return TwoWays(qwen3)


@pytest.mark.parametrize("case", KNOWN)
def test_known_cases_are_the_same_both_ways(two_ways: TwoWays, case: AnswerCase) -> None:
    check(two_ways, case)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(case=answer_cases())
def test_a_stream_put_together_is_the_whole_response(two_ways: TwoWays, case: AnswerCase) -> None:
    """Any text of the model, any cut, any end."""
    check(two_ways, case)


def test_the_events_of_an_answer() -> None:
    """Thinking, text and a call, in pieces: every event by its type and place."""
    pieces = [TextPiece("<think>\nWell.\n</think>\n\nSee"), TextPiece(f": {CALL}"), answer("")]
    usage = UsageCount(1)
    writer = ResponseWriter(response_of(ChatChoice(GenerateRequest(messages=(), tools=TOOLS)), usage), usage)
    body = b"".join(writer.write([piece]) for piece in pieces) + writer.end()
    events = named_events(body.decode())
    assert body.endswith(b"data: [DONE]\n\n")
    assert [(e["type"].removeprefix("response."), e.get("output_index")) for e in events] == [
        ("created", None), ("in_progress", None),
        ("output_item.added", 0), ("content_part.added", 0), ("reasoning_text.delta", 0), ("reasoning_text.done", 0),
        ("content_part.done", 0), ("output_item.done", 0),
        ("output_item.added", 1), ("content_part.added", 1), ("output_text.delta", 1), ("output_text.delta", 1),
        ("output_text.done", 1), ("content_part.done", 1), ("output_item.done", 1),
        ("output_item.added", 2), ("function_call_arguments.delta", 2), ("function_call_arguments.done", 2),
        ("output_item.done", 2), ("completed", None),
    ]  # fmt: skip
    assert events[10] == {
        "type": "response.output_text.delta", "item_id": events[8]["item"]["id"], "output_index": 1, "content_index": 0,
        "logprobs": [], "delta": "See", "sequence_number": 10,
    }  # fmt: skip
    assert [item["type"] for item in events[-1]["response"]["output"]] == ["reasoning", "message", "function_call"]


def test_a_stream_that_fails_says_so_at_its_end() -> None:
    """With what there is of the answer, and OpenAI's code; also before its first piece."""
    usage = UsageCount(1)
    writer = ResponseWriter(response_of(ChatChoice(GenerateRequest(messages=())), usage), usage)
    body = writer.write([TextPiece("Hel")]) + writer.fail(ApiError(503, "try again", code="overloaded"))
    last = named_events(body.decode())[-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"] == {"code": "server_error", "message": "try again"}
    [item] = last["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Hel")
    silent = ResponseWriter(response_of(ChatChoice(GenerateRequest(messages=())), usage), usage).fail(
        ApiError(500, "no")
    )
    assert [e["type"] for e in named_events(silent.decode())] == [
        "response.created", "response.in_progress", "response.failed",
    ]  # fmt: skip
