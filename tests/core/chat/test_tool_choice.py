"""Choices of tools: what OpenAI's values mean, which fit the tools, and the call they force."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.chat.deltas import ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import reader_of
from qwen_triton.chat.tool_choice import check_tool_choice, forced_beginning
from qwen_triton.chat.tool_formats.hermes import HERMES
from qwen_triton.chat.tool_formats.qwen3_coder import QWEN3_CODER
from qwen_triton.errors import InvalidRequest
from qwen_triton.types import GenerateRequest, ToolChoice

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
