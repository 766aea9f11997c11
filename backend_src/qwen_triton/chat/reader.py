"""Reads the model's answer: a chat turn into reasoning, content and tool calls."""

from __future__ import annotations

from collections.abc import Sequence

from ..text.tokenizer import Tokenizer
from .deltas import Content, Delta, Reasoning
from .reasoning import ReasoningParser
from .tool_calls import ToolCallParser


def opens_thinking(prompt_ids: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Whether a chat prompt leaves a <think> block open in the turn that the model is to go on with."""
    opening = tokenizer.encode("<think>")
    if len(opening) != 1:
        return False
    deciding = {opening[0], *tokenizer.encode("</think>"), tokenizer.special_tokens.get("<|im_start|>")}
    last = next((token for token in reversed(prompt_ids) if token in deciding), None)
    return last == opening[0]


class ChatReader:
    """Text pieces to deltas. `thinking_opened`: the answer begins within the thinking, its <think> ends the prompt."""

    def __init__(self, thinking_opened: bool = False, tools: bool = False) -> None:
        self._reasoning = ReasoningParser(thinking_opened)
        self._calls = ToolCallParser() if tools else None

    def feed(self, text: str) -> list[Delta]:
        return self._with_calls(self._reasoning.feed(text))

    def flush(self) -> list[Delta]:
        deltas = self._with_calls(self._reasoning.flush())
        return deltas + (list(self._calls.flush()) if self._calls else [])

    def _with_calls(self, deltas: list[Reasoning | Content]) -> list[Delta]:
        if self._calls is None:
            return list(deltas)
        found: list[Delta] = []
        for delta in deltas:
            found += self._calls.feed(delta.text) if isinstance(delta, Content) else [delta]
        return found
