"""Reads a chat answer as reasoning, content and tool calls."""

from __future__ import annotations

from collections.abc import Sequence

from ..text.tokenizer import Tokenizer
from .deltas import Content, Delta, Reasoning
from .reasoning import ReasoningParser
from .tool_calls import ToolCallParser


def opens_thinking(prompt_ids: Sequence[int], tokenizer: Tokenizer) -> bool:
    """Whether the last turn of a chat prompt has an open <think> block, so that the answer begins within it."""
    opening = tokenizer.encode("<think>")
    if len(opening) != 1:
        return False
    deciding = {opening[0], *tokenizer.encode("</think>"), tokenizer.special_tokens.get("<|im_start|>")}
    last = next((token for token in reversed(prompt_ids) if token in deciding), None)
    return last == opening[0]


class ChatReader:
    """Turns text pieces into deltas. `thinking_opened`: see `opens_thinking`. `tools`: whether tool calls are parsed."""

    def __init__(self, thinking_opened: bool = False, tools: bool = False) -> None:
        self._reasoning = ReasoningParser(thinking_opened)
        self._calls = ToolCallParser() if tools else None

    def feed(self, text: str) -> list[Delta]:
        """The deltas that are certain with this text."""
        return self._with_calls(self._reasoning.feed(text))

    def flush(self) -> list[Delta]:
        """The deltas that were held back, at the end of the answer."""
        deltas = self._with_calls(self._reasoning.flush())
        return deltas + (list(self._calls.flush()) if self._calls else [])

    def _with_calls(self, deltas: list[Reasoning | Content]) -> list[Delta]:
        if self._calls is None:
            return list(deltas)
        found: list[Delta] = []
        for delta in deltas:
            found += self._calls.feed(delta.text) if isinstance(delta, Content) else [delta]
        return found
