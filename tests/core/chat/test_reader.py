"""ChatReader reads an answer's thinking, content and tool calls; opens_thinking says whether it begins in the thinking."""

from __future__ import annotations

import pytest

from qwen_triton.chat.deltas import Content, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import ChatReader, opens_thinking
from qwen_triton.text.tokenizer import Tokenizer


def test_thinking_and_calls_are_told_apart_in_pieces() -> None:
    """Markup never shows; calls are read only where tools were given."""
    text = '<think>\nhm\n</think>\n\nok <tool_call>\n{"name": "f", "arguments": {"a": 1}}\n</tool_call>'
    reader = ChatReader(tools=True)
    deltas = [d for character in text for d in reader.feed(character)] + reader.flush()
    assert "".join(d.text for d in deltas if isinstance(d, Reasoning)) == "hm"
    assert "".join(d.text for d in deltas if isinstance(d, Content)) == "ok"
    assert [d for d in deltas if isinstance(d, ToolCallStart)] == [ToolCallStart(0, "f")]
    assert "".join(d.text for d in deltas if isinstance(d, ToolCallArguments)) == '{"a": 1}'
    plain = ChatReader()
    assert [*plain.feed(text), *plain.flush()][-1] == Content(text.partition("</think>\n\n")[2])
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
