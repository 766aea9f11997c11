"""Blocks of an answer: their order, their text, whether they are complete, however the answer is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_triton.types import FinishReason, GenerateRequest
from qwen_triton_openai.answers.blocks import BlockReader, BlockStep
from qwen_triton_openai.answers.chat_message import ChatChoice
from tests.support.fake_triton import answer, cut

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>'
ARGUMENTS = '{"city": "北京"}'
CHAT = GenerateRequest(messages=(), tools=({"function": {"name": "get_weather"}},))


def steps_of(text: str, size: int, finish: FinishReason = "stop") -> list[BlockStep]:
    reader = BlockReader(ChatChoice(CHAT), always_text=True)
    return [step for piece in cut(text, size, finish) for step in reader.feed(piece)]


def blocks_of(text: str, size: int, finish: FinishReason = "stop") -> list[tuple[str, str, str, bool]]:
    """Kind, name, text as it was added, and whether it is complete; each is opened and closed once, in order."""
    found: list[tuple[str, str, str, bool]] = []
    added = ""
    for step, block, text_added in steps_of(text, size, finish):
        assert block.index == len(found)
        added = {"open": "", "add": added + text_added, "close": added}[step]
        if step == "close":
            assert added == block.text
            found.append((block.kind, block.name, added, block.complete))
    return found


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_thinking_text_and_calls_are_blocks_in_their_order(size: int) -> None:
    """Text behind a call is a block of its own."""
    assert blocks_of(f"<think>\nWell.\n</think>\n\nSee:\n{CALL}\n{CALL}\nDone.", size) == [
        ("reasoning", "", "Well.", True),
        ("text", "", "See:", True),
        ("call", "get_weather", ARGUMENTS, True),
        ("call", "get_weather", ARGUMENTS, True),
        ("text", "", "Done.", True),
    ]


@pytest.mark.parametrize("size", [1, 1000])
def test_what_is_cut_is_not_complete(size: int) -> None:
    """Text, thinking, and a call within its arguments; a call that was whole before the cut is complete."""
    assert blocks_of("See", size, "length") == [("text", "", "See", False)]
    assert blocks_of("<think>Well", size, "length") == [("reasoning", "", "Well", False)]
    assert blocks_of(CALL[:-20], size, "length")[0][3] is False
    assert blocks_of(CALL, size, "length") == [("call", "get_weather", ARGUMENTS, True)]


@pytest.mark.parametrize("size", [1, 1000])
def test_a_malformed_call_is_not_complete(size: int) -> None:
    """Its arguments are as the model wrote them."""
    broken = '<tool_call>\n{"name": "f", "arguments": {oops}}\n</tool_call>'
    assert [(kind, complete) for kind, _, _, complete in blocks_of(f"{broken}{CALL}", size)] == [
        ("call", False),
        ("call", True),
    ]


def test_an_answer_of_nothing_is_an_empty_text() -> None:
    """Also behind thinking; not where it was cut."""
    assert blocks_of("", 1) == [("text", "", "", True)]
    assert blocks_of("<think>\nWell.\n</think>\n\n", 1) == [("reasoning", "", "Well.", True), ("text", "", "", True)]
    assert blocks_of("", 1, "length") == []
    quiet = BlockReader(ChatChoice(GenerateRequest(messages=())))
    assert quiet.feed(answer("")) == []


@given(
    st.lists(st.sampled_from([CALL, "<think>", "</think>", "a", "\n", "<tool_call>", '{"name": "f"', "<"]), max_size=8),
    st.integers(1, 9),
    st.sampled_from(["stop", "length"]),
)
def test_the_cut_of_the_text_does_not_matter(parts: list[str], size: int, finish: FinishReason) -> None:
    """Any text."""
    text = "".join(parts)
    assert blocks_of(text, size, finish) == blocks_of(text, max(1, len(text)), finish)
