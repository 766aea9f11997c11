"""Splits a Qwen answer into reasoning and content: `<think>…</think>` at its beginning, cut anywhere.

Line ends around the reasoning and before the content are markup and left out: then the parts, sent back with the next
request, render to the text that the model generated. Where the template opened the block, the answer begins with
reasoning, and a repeated opening tag is left out. An answer without a block is content, unchanged. A block that is never
closed is reasoning to the end. A <think> later in an answer is plain text.

Some models call a tool before they close the block, and others only draft calls there. Where tool calls are read, complete
calls in the reasoning are therefore held back: text or </think> behind them makes them drafts, which are reasoning; if
the answer ends by itself right behind them, they are its content.
"""

from __future__ import annotations

from collections.abc import Callable

from .deltas import Content, Delta, Reasoning
from .tags import first_tag, held_back
from .tool_formats.tool_format import BLANK, BlockState, CallBlock, ToolFormat

OPEN, CLOSE = "<think>", "</think>"


class ReasoningParser:
    """Parses one answer. `opened`: the prompt ended with an opening tag. The result does not depend on the cuts.

    `calls`: the format of the calls that may be in the reasoning, None where none are read. `in_content`: all that
    follows is content, unchanged. `_read` is the state: it consumes `_pending` and returns True after it has set the next
    state, False when it needs more text. It is a function of the class: a bound method would be a cycle of each parser
    and itself, which only the garbage collector frees.
    """

    __slots__ = (
        "_block", "_calls", "_cut", "_end", "_held", "_opened", "_out", "_pending", "_raw", "_read", "_started", "_tags",
        "in_content",
    )  # fmt: skip

    def __init__(self, opened: bool = False, calls: ToolFormat | None = None) -> None:
        self._opened = opened
        self._calls = calls
        self._tags = (CLOSE, *(calls.openings if calls else ()))
        self._pending = ""
        self._end = False
        self._cut = False
        self._started = False
        self._held: list[str] = []
        self._block: CallBlock | None = None
        self._raw: list[str] = []
        self._out: list[Delta] = []
        self._read: Callable[[ReasoningParser], bool] = ReasoningParser._read_start
        self.in_content = False

    def feed(self, text: str) -> list[Delta]:
        """The deltas that are certain with this text."""
        self._pending += text
        while self._read(self):
            pass
        out, self._out = self._out, []
        return out

    def flush(self, cut: bool = False) -> list[Delta]:
        """The deltas that were held back, at the end of the answer. `cut`: it did not end by itself."""
        self._end, self._cut = True, cut
        return self.feed("")

    def _read_start(self) -> bool:
        """Blanks before a tag may be markup, so they are held back until other text comes."""
        text = self._pending.lstrip()
        opens = text.startswith(OPEN)
        if not opens and OPEN.startswith(text) and not self._end:
            return False
        if opens:
            self._pending = text[len(OPEN) :]
        self._read = ReasoningParser._read_thinking if opens or self._opened else ReasoningParser._read_content
        return True

    def _read_thinking(self) -> bool:
        text = self._pending if self._started else self._pending.lstrip("\n")
        found = first_tag(text, *self._tags) if "<" in text else None
        if found is not None:
            thinking = text[: found[0]]
        else:
            thinking = text if self._end or "<" not in text else text[: len(text) - held_back(text, *self._tags)]
        certain = thinking.rstrip("\n")
        if certain:
            self._think(certain)
        if found is None:
            self._pending = "" if self._end else text[len(certain) :]
            return False
        at, tag = found
        self._pending = text[at + len(tag) :]
        if tag == CLOSE:
            self._read = ReasoningParser._read_blank
        else:
            self._open_block(text[len(certain) : at] + tag, tag)
        return True

    def _think(self, text: str) -> None:
        self._started = True
        self._out.append(Reasoning(text))

    def _open_block(self, opening: str, tag: str) -> None:
        assert self._calls is not None
        self._held.append(opening)
        self._raw = []
        self._block = self._calls.block(tag, 0)
        self._read = ReasoningParser._read_block

    def _read_block(self) -> bool:
        """Until it is certain whether the block is a complete call."""
        block = self._block
        assert block is not None
        text, self._pending = self._pending, ""
        self._raw.append(text)
        block.feed(text, self._end, self._cut)
        if block.state in (BlockState.UNDECIDED, BlockState.BEGUN):
            return False
        if block.state is BlockState.CLOSED and block.complete:
            raw = "".join(self._raw)
            self._held.append(raw[: len(raw) - len(block.rest)])
            self._pending = block.rest
            self._read = ReasoningParser._read_behind_block
        else:
            self._release_held()
            self._pending = "".join(self._raw)
        self._raw = []
        return True

    def _read_behind_block(self) -> bool:
        """Blanks, another block or the end: the calls held are calls. Anything else: they are drafts."""
        assert self._calls is not None
        text = self._pending.lstrip(BLANK)
        blanks = self._pending[: len(self._pending) - len(text)]
        tag = next((opening for opening in self._calls.openings if text.startswith(opening)), None)
        if tag is not None:
            self._pending = text[len(tag) :]
            self._open_block(blanks + tag, tag)
            return True
        if not self._end and (not text or any(opening.startswith(text) for opening in self._calls.openings)):
            return False
        if not text and not self._cut:
            self._out.append(Content("".join(self._held)))
            self._pending = ""
            return False
        self._release_held()
        return True

    def _release_held(self) -> None:
        """What was held back is reasoning."""
        self._think("".join(self._held))
        self._held = []
        self._read = ReasoningParser._read_thinking

    def _read_blank(self) -> bool:
        """Line ends between the closing tag and the content."""
        self._pending = self._pending.lstrip("\n")
        if self._pending:
            self._read = ReasoningParser._read_content
        return bool(self._pending)

    def _read_content(self) -> bool:
        self.in_content = True
        if self._pending:
            self._out.append(Content(self._pending))
            self._pending = ""
        return False
