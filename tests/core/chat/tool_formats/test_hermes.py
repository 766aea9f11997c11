"""Hermes blocks: what is known of a block as its text arrives, and how a forced call begins."""

from __future__ import annotations

import pytest

from qwen_triton.chat.deltas import ToolCallArguments, ToolCallStart
from qwen_triton.chat.tool_formats.hermes import HERMES, HermesBlock
from qwen_triton.chat.tool_formats.tool_format import BlockState, ToolFormat

STATES = [
    # text behind the tag, the state without an end, with one, whether the call is complete, what is behind it
    ('\n{"name": "f", "argu', BlockState.UNDECIDED, BlockState.REJECTED, False, ""),
    ('\n{"name": "f", "arguments": {"a": 1', BlockState.BEGUN, BlockState.CLOSED, False, ""),
    ('\n{"name": "f", "arguments": {"a": 1}', BlockState.BEGUN, BlockState.CLOSED, True, ""),
    ('\n{"name": "f", "arguments": {"a": 1}}\n', BlockState.BEGUN, BlockState.CLOSED, True, ""),
    ('\n{"name": "f", "arguments": {"a": 1}}\n</tool_call> b', BlockState.CLOSED, BlockState.CLOSED, True, " b"),
    ('\n{"name": "f", "arguments": {"a": 1}} b', BlockState.CLOSED, BlockState.CLOSED, True, "b"),
    ('\n{"name": "f", "arguments": {"a": oops', BlockState.BROKEN, BlockState.CLOSED, False, ""),
    ('\n{"name": "f", "arguments": {oops</tool_call>b', BlockState.CLOSED, BlockState.CLOSED, False, "b"),
    ('\n{"name": "f"}', BlockState.BEGUN, BlockState.CLOSED, True, ""),
    ("oops", BlockState.REJECTED, BlockState.REJECTED, False, ""),
]


@pytest.mark.parametrize(("text", "open_state", "end_state", "complete", "rest"), STATES)
def test_states_of_a_block(text: str, open_state: BlockState, end_state: BlockState, complete: bool, rest: str) -> None:
    """In the midst of an answer, and at its end."""
    midst = HermesBlock(0)
    midst.feed(text)
    assert (midst.state, midst.complete, midst.rest) == (open_state, complete, rest)
    ended = HermesBlock(0)
    ended.feed(text, end=True)
    assert (ended.state, ended.complete, ended.rest) == (end_state, complete, rest)


def test_a_block_has_the_index_it_is_given() -> None:
    block = HERMES.block("<tool_call>", 3)
    assert block.feed('{"name": "f", "arguments": {}}') == [ToolCallStart(3, "f"), ToolCallArguments(3, "{}")]


def test_a_forced_call_ends_at_a_colon() -> None:
    """The blank behind it belongs to the next token."""
    tool_format: ToolFormat = HERMES
    assert tool_format.beginning(None) == '<tool_call>\n{"name":'
    assert tool_format.beginning('say "你"') == '<tool_call>\n{"name": "say \\"你\\"", "arguments":'
