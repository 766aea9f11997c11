"""Finds tool calls in the text of an answer, cut anywhere, in one format of calls.

Blanks around a call are markup. Everything that is no call is content, character for character, and the result does
not depend on the cuts. A call that has begun cannot be revoked. A block that is no call is content, its opening tag
included; the text behind that tag is read again and may hold a call. Tags in prose, and within the strings of a call's
arguments, are text.
"""

from __future__ import annotations

from collections.abc import Callable

from .deltas import Content, Delta, ToolCallStart
from .tags import first_tag, held_back
from .tool_formats.tool_format import BLANK, BlockState, CallBlock, ToolFormat


class ToolCallParser:
    """Parses one answer. `calls` counts those begun so far, `complete` those with all their arguments.

    `single`: the answer is `over` when its first call is closed, and what follows is left out. `begun`: text that the
    prompt already ends with and the answer continues; a call may begin in it, but it is never content. `_read` is the
    state: it consumes `_pending` and returns True, perhaps after it has set the next state, or False when it needs more
    text.
    """

    __slots__ = (
        "_after_call", "_block", "_cut", "_end", "_format", "_opening", "_out", "_pending", "_plain", "_raw", "_read",
        "_single", "calls", "complete", "over",
    )  # fmt: skip

    def __init__(self, tool_format: ToolFormat, *, single: bool = False, begun: str = "") -> None:
        self._format = tool_format
        self._single = single
        self._pending = ""
        self._end = self._cut = False
        self._out: list[Delta] = []
        self._read: Callable[[], bool] = self._read_text
        self._after_call = False
        self._opening = ""
        self._raw: list[str] = []
        self._block: CallBlock | None = None
        self._plain = True
        self.calls = 0
        self.complete = 0
        self.over = False
        if begun:
            self._begin_with(begun)

    def feed(self, text: str) -> list[Delta]:
        """The deltas that are certain with this text."""
        if self._plain and "<" not in text and text and text[-1] not in BLANK:  # the usual case
            return [Content(text)]
        if self.over:
            return []
        self._pending += text
        while self._read():
            pass
        self._plain = self._block is None and not (self._pending or self._after_call or self.over)
        out, self._out = self._out, []
        return out

    def flush(self, cut: bool = False) -> list[Delta]:
        """The deltas that were held back, at the end of the answer. `cut`: it did not end by itself."""
        self._end, self._cut, self._plain = True, cut, False
        return self.feed("")

    def _begin_with(self, begun: str) -> None:
        """What the answer continues is known to the client: of it, only a call that is open counts."""
        self._out = [delta for delta in self.feed(begun) if not isinstance(delta, Content)]
        self._opening, self._raw = "", []
        if self._block is None:
            self._pending = ""
        self._plain = self._block is None and not (self._after_call or self._out or self.over)

    def _read_text(self) -> bool:
        """Content up to an opening tag; blanks before the tag, and behind a call, are markup."""
        text = self._pending.lstrip(BLANK) if self._after_call else self._pending
        found = first_tag(text, *self._format.openings)
        if found is None:
            certain = text if self._end else text[: len(text) - held_back(text, *self._format.openings)].rstrip(BLANK)
            behind = text[len(certain) :]
        else:
            at, tag = found
            certain, behind = text[:at].rstrip(BLANK), text[at + len(tag) :]
        self._pending = behind
        if certain:
            self._after_call = False
            self._out.append(Content(certain))
        if found is not None:
            self._opening = text[len(certain) : at + len(tag)]
            self._raw = []
            self._block = self._format.block(tag, self.calls)
            self._read = self._read_block
        return found is not None

    def _read_block(self) -> bool:
        block = self._block
        assert block is not None
        text, self._pending = self._pending, ""
        if block.state is BlockState.UNDECIDED:
            self._raw.append(text)
        deltas = block.feed(text, self._end, self._cut)
        self._out += deltas
        if block.state is BlockState.REJECTED:
            self._reject()
            return True
        if self._raw and block.state is not BlockState.UNDECIDED:
            self._raw = []
        if deltas and isinstance(deltas[0], ToolCallStart):
            self.calls += 1
        if block.state is not BlockState.CLOSED:
            return False
        self._close(block)
        return not self.over

    def _reject(self) -> None:
        """The tag is content; the text behind it is read again."""
        if self._opening:
            self._out.append(Content(self._opening))
        self._after_call = False
        self._pending, self._raw = "".join(self._raw), []
        self._leave_block()

    def _close(self, block: CallBlock) -> None:
        self.complete += block.complete
        self._pending = block.rest
        self._after_call = True
        self._leave_block()
        if self._single:
            self.over, self._pending = True, ""

    def _leave_block(self) -> None:
        self._block = None
        self._read = self._read_text
