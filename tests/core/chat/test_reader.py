"""ChatReader reads an answer's thinking, content and tool calls; opens_thinking says whether it begins in the thinking."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.chat.deltas import Content, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import ChatReader, opens_thinking
from qwen_triton.chat.tool_formats.hermes import HERMES
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import FinishReason


def test_thinking_and_calls_are_told_apart_in_pieces() -> None:
    """Markup never shows; calls are read only where tools were given."""
    text = '<think>\nhm\n</think>\n\nok <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    reader = ChatReader(tools=HERMES)
    deltas = [d for character in text for d in reader.feed(character)] + reader.end("stop")
    assert "".join(d.text for d in deltas if isinstance(d, Reasoning)) == "hm"
    assert "".join(d.text for d in deltas if isinstance(d, Content)) == "ok"
    assert [d for d in deltas if isinstance(d, ToolCallStart)] == [ToolCallStart(0, "f")]
    assert "".join(d.text for d in deltas if isinstance(d, ToolCallArguments)) == '{"a": 1}'
    plain = ChatReader()
    assert [*plain.feed(text), *plain.end("stop")][-1] == Content(text.partition("</think>\n\n")[2])
    assert ChatReader(thinking_opened=True).feed("hm")[0] == Reasoning("hm")


@pytest.mark.parametrize(
    ("prompt", "opened"),
    [
        ("<|im_start|>assistant\n<think>\n", True),
        ("<|im_start|>assistant\n<think>\n\n</think>\n\n", False),
        ("<think>x<|im_start|>assistant\n", False),
        ("no chat at all", False),
        ("<think>", True),
    ],
)
def test_whether_a_prompt_leaves_thinking_open(qwen3: Tokenizer, prompt: str, opened: bool) -> None:
    """By the last of its tags, if that stands in the last turn."""
    assert opens_thinking(tuple(qwen3.encode(prompt, control_tokens=True)), qwen3) is opened


def test_a_tokenizer_without_thinking_opens_none(qwen25: Tokenizer) -> None:
    """Qwen2.5 has no such token; the text is a text there."""
    assert (
        opens_thinking(tuple(qwen25.encode("<|im_start|>assistant\n<think>\n", control_tokens=True)), qwen25) is False
    )


WEATHER = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
OSLO = ("get_weather", '{"city": "Oslo"}')
WRITE = '<tool_call>{"name": "write", "arguments": {"text": "a </think> b"}}</tool_call>'

Parts = tuple[str, str, list[tuple[str, str]], str]


def read(pieces: list[str], finish: FinishReason = "stop", **options: Any) -> Parts:
    """Thinking, content, calls and finish reason of an answer whose thinking the template opened."""
    reader = ChatReader(True, HERMES, **options)
    deltas = [delta for piece in pieces for delta in reader.feed(piece)] + reader.end(finish)
    calls = [
        (d.name, "".join(a.text for a in deltas if isinstance(a, ToolCallArguments) and a.index == d.index))
        for d in deltas
        if isinstance(d, ToolCallStart)
    ]
    texts = ("".join(d.text for d in deltas if isinstance(d, kind)) for kind in (Reasoning, Content))
    return (*texts, calls, reader.finish_reason(finish))  # type: ignore[return-value]  # two texts


IN_THINKING: list[tuple[str, FinishReason, Parts]] = [
    # answer, how it ended, thinking, content, calls, finish reason
    (f"I should look.\n{WEATHER}", "stop", ("I should look.", "", [OSLO], "tool_calls")),
    (f"{WEATHER}\n{WEATHER}\n", "stop", ("", "", [OSLO, OSLO], "tool_calls")),
    (f"Look.\n\n{WEATHER.removesuffix('</tool_call>')}", "stop", ("Look.", "", [OSLO], "tool_calls")),
    (f"<think>\nLook. {WRITE}", "stop", ("Look. ", "", [("write", '{"text": "a </think> b"}')], "tool_calls")),
    # drafts: the thinking goes on, or is closed, behind them
    (f"Perhaps\n{WEATHER}\nor not.", "stop", (f"Perhaps\n{WEATHER}\nor not.", "", [], "stop")),
    (f"Perhaps\n{WEATHER}\n</think>\n\nHi", "stop", (f"Perhaps\n{WEATHER}", "Hi", [], "stop")),
    (f"{WEATHER}</think>{WEATHER}", "stop", (WEATHER, "", [OSLO], "tool_calls")),
    (f"{WEATHER}x{WEATHER}", "stop", (f"{WEATHER}x", "", [OSLO], "tool_calls")),
    (f"{WEATHER} <tool", "stop", (f"{WEATHER} <tool", "", [], "stop")),
    (f"{WRITE} or", "stop", (f"{WRITE} or", "", [], "stop")),
    # an answer that was cut off might have gone on
    (f"Look.\n{WEATHER}\n", "length", (f"Look.\n{WEATHER}", "", [], "length")),
    # no complete calls
    ("The tag <tool_call> begins one", "stop", ("The tag <tool_call> begins one", "", [], "stop")),
    (f"{WEATHER[:-20]}</think>Hi", "stop", (WEATHER[:-20], "Hi", [], "stop")),
    ('<tool_call>{"name": "f", "arguments": {oops</think>Hi', "stop",
     ('<tool_call>{"name": "f", "arguments": {oops', "Hi", [], "stop")),
    ('<tool_call>{"name": "f", "arguments": {oops</tool_call>', "stop",
     ('<tool_call>{"name": "f", "arguments": {oops</tool_call>', "", [], "stop")),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "finish", "parts"), IN_THINKING)
def test_calls_in_the_thinking_at_every_cut(answer: str, finish: FinishReason, parts: Parts) -> None:
    """A complete call is a call if the answer ends by itself right behind it; else it is a draft, and thinking."""
    for cut in range(len(answer) + 1):
        assert read([answer[:cut], answer[cut:]], finish) == parts, cut
    assert read(list(answer), finish) == parts


def test_of_calls_in_the_thinking_the_first_is_the_single_one() -> None:
    """But only at the end is it known to be one, so the answer is not over before."""
    assert read([WEATHER, WEATHER], single=True) == ("", "", [OSLO], "tool_calls")
    reader = ChatReader(True, HERMES, single=True)
    assert (reader.feed(WEATHER), reader.over) == ([], False)


@pytest.mark.parametrize(
    ("answer", "finish", "reason"),
    [
        (WEATHER, "stop", "tool_calls"),
        (WEATHER, "length", "length"),
        (WEATHER[:-20], "length", "length"),
        (WEATHER[:-20], "stop", "stop"),
        (WEATHER + WEATHER[:-20], "stop", "stop"),
        ('<tool_call>{"name": "f", "arguments": {oops</tool_call>', "stop", "stop"),
        ("Hi", "stop", "stop"),
        (WEATHER, "cancelled", "cancelled"),
    ],
)
def test_the_reason_is_tool_calls_only_if_all_calls_are_complete(
    answer: str, finish: FinishReason, reason: str
) -> None:
    """And if the answer ended by itself."""
    reader = ChatReader(tools=HERMES)
    reader.feed(answer)
    reader.end(finish)
    assert reader.finish_reason(finish) == reason


def test_a_plain_piece_passes_through() -> None:
    """One delta with the text itself."""
    reader = ChatReader(tools=HERMES)
    reader.feed("a")
    text = "some text"
    assert reader.feed(text)[0].text is text  # type: ignore[union-attr]  # it is content
