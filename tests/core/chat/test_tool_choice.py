"""Choices of tools: what OpenAI's values mean, which fit the tools, and the call they force."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from qwen_triton.chat import tool_choice
from qwen_triton.chat.deltas import ToolCallArguments, ToolCallStart
from qwen_triton.chat.forms.compile import FormBounds, form_grammar
from qwen_triton.chat.reader import ChatReader, reader_of
from qwen_triton.chat.tool_choice import calls_form, check_tool_choice, forced_beginning
from qwen_triton.chat.tool_formats.hermes import HERMES
from qwen_triton.chat.tool_formats.qwen3_coder import QWEN3_CODER
from qwen_triton.chat.tool_formats.tool_format import ToolFormat
from qwen_triton.errors import InvalidRequest
from qwen_triton.types import Form, GenerateRequest, ToolChoice
from tests.support.grammar_texts import TextDrawer

F: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
G: dict[str, Any] = {"name": "g"}


@pytest.mark.parametrize("value", ["auto", "none", "required", {"type": "function", "function": {"name": "f"}}])
def test_a_choice_is_openai_s_value(value: Any) -> None:
    assert ToolChoice.read(value).value == value


@pytest.mark.parametrize(
    "value",
    [
        "any",
        "",
        None,
        3,
        {},
        {"function": 3},
        {"function": {}},
        {"function": {"name": ""}},
        {"type": "custom", "function": {"name": "f"}},
    ],
)
def test_any_other_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"tool_choice: expected none, auto, required or \{"):
        ToolChoice.read(value)


@pytest.mark.parametrize(
    ("choice", "tools", "fault"),
    [
        (ToolChoice("required"), [], "tool_choice: only with tools"),
        (ToolChoice("named", "f"), [], "tool_choice: only with tools"),
        (ToolChoice("named", "h"), [F, G], "tool_choice: names a function that is not in tools"),
        (ToolChoice("named", "g"), [F, G], ""),
        (ToolChoice("none"), [], ""),
        (ToolChoice(), [], ""),
    ],
)
def test_a_choice_fits_its_tools(choice: ToolChoice, tools: list[Any], fault: str) -> None:
    if not fault:
        check_tool_choice(choice, tools)
        return
    with pytest.raises(InvalidRequest, match=fault):
        check_tool_choice(choice, tools)


def test_a_call_is_forced_up_to_where_it_is_certain() -> None:
    """With one tool there is one name."""
    required = ToolChoice("required")
    assert forced_beginning(required, [F], HERMES) == HERMES.beginning("f")
    assert forced_beginning(required, [F, G], QWEN3_CODER) == QWEN3_CODER.beginning(None)
    assert forced_beginning(ToolChoice("named", "g"), [F, G], QWEN3_CODER) == QWEN3_CODER.beginning("g")
    assert forced_beginning(ToolChoice(), [F], HERMES) == ""


@pytest.mark.parametrize("told", ["hermes", ""])
def test_a_reader_knows_what_its_request_forced(told: str) -> None:
    """And reads no calls where the choice is none."""
    request = GenerateRequest(
        messages=(), tools=(F, G), tool_choice=ToolChoice("named", "g"), parallel_tool_calls=False
    )
    reader = reader_of(request, False, told)
    assert reader.feed(' {"a": 1}}\n</tool_call>x') == [ToolCallStart(0, "g"), ToolCallArguments(0, '{"a": 1}')]
    assert reader.over
    silent = reader_of(GenerateRequest(messages=(), tools=(F,), tool_choice=ToolChoice("none")), False, told)
    text = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert [d.text for d in silent.feed(text)] == [text]  # type: ignore[union-attr]  # it is content


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Oslo", "北京"]}}, "required": ["city"]},
    },
}
NOW = {"type": "function", "function": {"name": "now"}}
ODD = {"type": "function", "function": {"name": "odd", "parameters": {"type": "object", "not": {}}}}


def strict(tool: dict[str, Any]) -> dict[str, Any]:
    return {**tool, "function": {**tool["function"], "strict": True}}


def drawn(form: Form | None, texts: int = 60) -> list[str]:
    assert form is not None
    drawer = TextDrawer(form_grammar(form, FormBounds()), Random(5))
    return [drawer.draw() for _ in range(texts)]


def calls_of(text: str, tool_format: ToolFormat, begun: str = "") -> list[tuple[str, Any]]:
    """The calls of an answer, read as the server reads them; every one must be complete."""
    reader = ChatReader(tools=tool_format, begun=begun)
    deltas = reader.feed(text) + reader.end("stop")
    names = [delta.name for delta in deltas if isinstance(delta, ToolCallStart)]
    arguments = [""] * len(names)
    for delta in deltas:
        if isinstance(delta, ToolCallArguments):
            arguments[delta.index] += delta.text
    return [(name, json.loads(given)) for name, given in zip(names, arguments, strict=True)]


@pytest.mark.parametrize("tool_format", [HERMES, QWEN3_CODER], ids=["hermes", "qwen3_coder"])
@pytest.mark.parametrize("single", [False, True])
def test_a_forced_call_keeps_its_tool_s_schema(tool_format: ToolFormat, single: bool) -> None:
    """Behind the beginning that the prompt has; more calls only where they may be."""
    tools, choice = (WEATHER, NOW), ToolChoice("required")
    begun = forced_beginning(choice, tools, tool_format)
    form = calls_form(choice, tools, tool_format, None, FormBounds(), single=single)
    found = [calls_of(text, tool_format.for_tools(tools), begun) for text in drawn(form)]
    assert all(calls and (len(calls) == 1 or not single) for calls in found)
    assert {name for calls in found for name, _ in calls} == {"get_weather", "now"}
    assert all(given == {} or given["city"] in ("Oslo", "北京") for calls in found for _, given in calls)


def test_a_named_call_is_of_that_tool() -> None:
    form = calls_form(ToolChoice("named", "now"), (WEATHER, NOW), HERMES, None, FormBounds(), single=True)
    assert set(drawn(form)) == {" {}}\n</tool_call>"}


def test_a_strict_tool_keeps_its_schema_wherever_it_is_called() -> None:
    form = calls_form(ToolChoice(), (strict(WEATHER), NOW), HERMES, None, FormBounds(), single=False)
    texts = drawn(form)
    assert any("<tool_call>" not in text for text in texts), "text alone is an answer"
    found = [call for text in texts for call in calls_of(text, HERMES)]
    assert {given["city"] for name, given in found if name == "get_weather"} == {"Oslo", "北京"}


def test_beside_a_form_an_answer_may_be_calls() -> None:
    form = calls_form(ToolChoice(), (WEATHER,), HERMES, Form("choice", '["yes"]'), FormBounds(), single=True)
    texts = drawn(form)
    assert {text for text in texts if "<tool_call>" not in text} == {"yes"}
    assert all(len(calls_of(text, HERMES)) == 1 for text in texts if text != "yes")


def test_tools_that_ask_for_nothing_leave_the_answer_free() -> None:
    assert calls_form(ToolChoice(), (WEATHER,), HERMES, None, FormBounds(), single=False) is None
    assert calls_form(ToolChoice("none"), (strict(WEATHER),), HERMES, None, FormBounds(), single=False) is None


def test_a_schema_that_is_not_kept_is_refused_where_it_is_strict() -> None:
    """Otherwise the arguments are any object."""
    with pytest.raises(
        InvalidRequest, match=r"^tools\[1\]: strict, and its schema is not kept: .*not: no engine keeps"
    ):
        calls_form(ToolChoice(), (NOW, strict(ODD)), HERMES, None, FormBounds(), single=False)
    texts = drawn(calls_form(ToolChoice("required"), (ODD,), HERMES, None, FormBounds(), single=True))
    assert all(isinstance(calls_of(text, HERMES, HERMES.beginning("odd"))[0][1], dict) for text in texts)


def test_tools_of_many_callers_take_no_more_memory_than_those_of_a_few() -> None:
    """A tool may have two megabytes; why its schema is not kept is known again for the latest ones."""
    for number in range(20):
        schema = {"type": "object", "description": f"{number}" + "x" * 500_000}
        large = {"type": "function", "function": {"name": "large", "parameters": schema}}
        calls_form(ToolChoice("required"), (large,), HERMES, None, FormBounds(), single=True)
    assert 1 << 20 < tool_choice._NOT_KEPT.held_bytes <= 4 << 20
