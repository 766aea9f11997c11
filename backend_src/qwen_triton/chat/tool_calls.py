"""Reads Qwen's (Hermes') tool calls out of an answer, cut anywhere:

    text <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call> text

Blanks around a call are markup. Whatever is no call is content, word for word: nothing is lost, nothing is doubled,
and the result does not depend on the cuts. The rules:

 1. A call begins once it is certain to be one: with its name and the opening brace of its arguments in the usual
    order, and then its arguments are given out as they come; in any other order or shape (no arguments, arguments as
    JSON in a string), once its object is complete, and then whole.
 2. A block that breaks JSON before that, or names no function, is content, its tags included; what follows its
    opening tag is read anew and may hold a call.
 3. What has begun cannot be taken back: arguments that break JSON later on are given out as they are, up to a closing
    or opening tag or the end of the answer, and the caller's JSON parser will say so. With `stream_arguments` false a
    call begins when its object is complete, so this does not occur and rule 2 holds throughout.
 4. A missing outer brace or closing tag is forgiven. Other text between the arguments and the closing tag is content,
    and so is that tag.
"""

from __future__ import annotations

from collections.abc import Callable

from .deltas import Content, ToolCallArguments, ToolCallStart
from .json_scanner import JsonScanner
from .tags import first_tag, held_back
from .tool_call_json import complete_tool_call, tool_call_head

OPEN, CLOSE = "<tool_call>", "</tool_call>"

BLANK = " \t\r\n"

ToolCallDelta = Content | ToolCallStart | ToolCallArguments


class ToolCallParser:
    """Reads one answer. A reader takes from `_pending` and returns True, perhaps after naming the next reader, or
    returns False when it needs more text."""

    __slots__ = (
        "_after_call", "_brace_due", "_end", "_json", "_name", "_opening", "_out", "_pending", "_read", "_scanned",
        "_scanner", "_stream", "calls",
    )  # fmt: skip

    def __init__(self, stream_arguments: bool = True) -> None:
        self._stream = stream_arguments
        self._pending = ""
        self._end = False
        self._out: list[ToolCallDelta] = []
        self._read: Callable[[], bool] = self._read_text
        self._after_call = False
        self._open_block("")
        self.calls = 0

    def feed(self, text: str) -> list[ToolCallDelta]:
        """What is certain with this text."""
        pending, self._pending = self._pending, ""
        pending += text  # the only reference, so that it grows in place: a long block costs what its text costs
        self._pending = pending
        while self._read():
            pass
        out, self._out = self._out, []
        return out

    def flush(self) -> list[ToolCallDelta]:
        """What was held back, at the end of the answer."""
        self._end = True
        return self.feed("")

    def _read_text(self) -> bool:
        """Content up to an opening tag; blanks before that tag, and behind a call, belong to neither."""
        text = self._pending.lstrip(BLANK) if self._after_call else self._pending
        before, tag, behind = text.partition(OPEN)
        certain = before.rstrip(BLANK)
        if not tag:
            certain = text if self._end else text[: len(text) - held_back(text, OPEN)].rstrip(BLANK)
            behind = text[len(certain) :]
        self._pending = behind
        if certain:
            self._after_call = False
            self._out.append(Content(certain))
        if tag:
            self._open_block(before[len(certain) :] + tag)
            self._read = self._read_block
        return bool(tag)

    def _open_block(self, opening: str) -> None:
        self._opening = opening
        self._name = ""
        self._scanner = JsonScanner()
        self._scanned = 0
        self._json: list[str] = []

    def _read_block(self) -> bool:
        """Until it is certain whether the block is a call. `_pending` stays whole, it may have to be read as text."""
        if head := tool_call_head(self._pending):
            self._name, self._scanned = head
            self._scanner, self._json = JsonScanner(), []
            if self._stream:
                self._begin(self._name)
                self._pending, self._scanned = self._pending[self._scanned :], 0
            self._read = self._read_streamed if self._stream else self._read_whole
            return True
        self._scan()
        if self._scanner.complete and (call := complete_tool_call("".join(self._json))):
            return self._give(*call, brace_due=False)
        return self._no_call() if self._scanner.complete or self._scanner.failed or self._end else False

    def _read_streamed(self) -> bool:
        """Arguments of a call that has begun, as they come."""
        self._scan()
        self._arguments("".join(self._json))
        self._pending = self._pending[self._scanned :]
        self._json, self._scanned = [], 0
        if self._scanner.complete:
            self._brace_due = True
            self._read = self._read_tail
        elif self._scanner.failed:
            self._read = self._read_broken
        return self._scanner.complete or self._scanner.failed

    def _read_whole(self) -> bool:
        """The same arguments, for a call that begins when they are complete."""
        self._scan()
        if self._scanner.complete:
            return self._give(self._name, "".join(self._json), brace_due=True)
        return self._no_call() if self._scanner.failed or self._end else False

    def _read_tail(self) -> bool:
        """From the end of the arguments to the closing tag."""
        text = self._pending.lstrip(BLANK)
        if self._brace_due and text.startswith("}"):
            self._brace_due = False
            self._pending = text[1:]
            return True
        if not text.startswith(CLOSE) and CLOSE.startswith(text) and not self._end:
            self._pending = text
            return False
        self._pending = text.removeprefix(CLOSE)
        return self._close_block()

    def _read_broken(self) -> bool:
        """The rest of arguments that broke JSON, up to a tag."""
        found = first_tag(self._pending, OPEN, CLOSE)
        if found is None:
            certain = len(self._pending) - (0 if self._end else held_back(self._pending, OPEN, CLOSE))
        else:
            certain = found[0]
        self._arguments(self._pending[:certain])
        self._pending = self._pending[certain:].removeprefix(CLOSE)
        return self._close_block() if found else False

    def _scan(self) -> None:
        taken, self._scanned = self._scanner.feed(self._pending, self._scanned)
        self._json.append(taken)

    def _give(self, name: str, arguments: str, brace_due: bool) -> bool:
        self._begin(name)
        self._arguments(arguments)
        self._pending = self._pending[self._scanned :]
        self._brace_due = brace_due
        self._read = self._read_tail
        return True

    def _begin(self, name: str) -> None:
        self._out.append(ToolCallStart(self.calls, name))
        self.calls += 1

    def _arguments(self, text: str) -> None:
        if text:
            self._out.append(ToolCallArguments(self.calls - 1, text))

    def _no_call(self) -> bool:
        """The tag is text; what follows it is read anew."""
        self._out.append(Content(self._opening))
        self._after_call = False
        self._read = self._read_text
        return True

    def _close_block(self) -> bool:
        self._after_call = True
        self._read = self._read_text
        return True
