"""Splits a Qwen answer into reasoning and content: `<think>…</think>` at its beginning, cut anywhere.

Line ends around the reasoning and before the content are markup and left out: then the parts, sent back with the next
request, render to the text that the model generated. Where the template opened the block, the answer begins with
reasoning, and a repeated opening tag is left out. An answer without a block is content, unchanged. A block that is never
closed is reasoning to the end. A <think> later in an answer is plain text.
"""

from __future__ import annotations

from collections.abc import Callable

from .deltas import Content, Reasoning
from .tags import held_back

OPEN, CLOSE = "<think>", "</think>"


class ReasoningParser:
    """Parses one answer. `opened`: the prompt ended with an opening tag. The result does not depend on the cuts.

    `_read` is the state: it consumes `_pending` and returns True after it has set the next state, False when it needs
    more text.
    """

    __slots__ = ("_end", "_opened", "_out", "_pending", "_read", "_started")

    def __init__(self, opened: bool = False) -> None:
        self._opened = opened
        self._pending = ""
        self._end = False
        self._started = False
        self._out: list[Reasoning | Content] = []
        self._read: Callable[[], bool] = self._read_start

    def feed(self, text: str) -> list[Reasoning | Content]:
        """The deltas that are certain with this text; at most one of each kind."""
        self._pending += text
        while self._read():
            pass
        out, self._out = self._out, []
        return out

    def flush(self) -> list[Reasoning | Content]:
        """The deltas that were held back, at the end of the answer."""
        self._end = True
        return self.feed("")

    def _read_start(self) -> bool:
        """Blanks before a tag may be markup, so they are held back until other text comes."""
        text = self._pending.lstrip()
        opens = text.startswith(OPEN)
        if not opens and OPEN.startswith(text) and not self._end:
            return False
        if opens:
            self._pending = text[len(OPEN) :]
        self._read = self._read_thinking if opens or self._opened else self._read_content
        return True

    def _read_thinking(self) -> bool:
        text = self._pending if self._started else self._pending.lstrip("\n")
        thinking, tag, self._pending = text.partition(CLOSE)
        if not tag and not self._end:
            thinking = text[: len(text) - held_back(text, CLOSE)]
        certain = thinking.rstrip("\n")
        if certain:
            self._started = True
            self._out.append(Reasoning(certain))
        if tag:
            self._read = self._read_blank
        elif not self._end:
            self._pending = text[len(certain) :]
        return bool(tag)

    def _read_blank(self) -> bool:
        """Line ends between the closing tag and the content."""
        self._pending = self._pending.lstrip("\n")
        if self._pending:
            self._read = self._read_content
        return bool(self._pending)

    def _read_content(self) -> bool:
        if self._pending:
            self._out.append(Content(self._pending))
            self._pending = ""
        return False
