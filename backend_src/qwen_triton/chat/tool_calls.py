"""Parses Qwen's (Hermes') tool calls in an answer, cut anywhere:

    text <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call> text

Blanks around a call are markup. Everything that is no call is content, character for character, and the result does
not depend on the cuts. The rules:

 1. A call begins once it is certain to be one: with its name and the opening brace of its arguments in the usual
    order, and then its arguments are streamed; in any other order or form (no arguments, arguments as JSON in a
    string) once its object is complete, and then it is returned whole.
 2. A block that breaks JSON before that, or names no function, is content, its tags included; the text behind its
    opening tag is parsed again and may hold a call.
 3. A call that has begun cannot be revoked: arguments that break JSON later are returned as they are, up to a closing
    or opening tag or the end of the answer, and the client's JSON parser will refuse them. With `stream_arguments` false
    a call begins when its object is complete, so this does not occur and rule 2 holds throughout.
 4. A missing outer brace or closing tag is tolerated. Other text between the arguments and the closing tag is content,
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
    """Parses one answer. `calls` counts the calls so far.

    `_read` is the state: it consumes `_pending` and returns True, perhaps after it has set the next state, or False when
    it needs more text.
    """

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
        """The deltas that are certain with this text."""
        pending, self._pending = self._pending, ""
        pending += text  # the only reference: so the string grows in place, and a long block takes linear time
        self._pending = pending
        while self._read():
            pass
        out, self._out = self._out, []
        return out

    def flush(self) -> list[ToolCallDelta]:
        """The deltas that were held back, at the end of the answer."""
        self._end = True
        return self.feed("")

    def _read_text(self) -> bool:
        """Content up to an opening tag; blanks before the tag, and behind a call, are markup."""
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
        """Until it is certain whether the block is a call. Keeps `_pending`, which may have to be parsed as text."""
        if head := tool_call_head(self._pending):
            self._name, self._scanned = head
            self._scanner, self._json = JsonScanner(), []
            if self._stream:
                self._emit_start(self._name)
                self._pending, self._scanned = self._pending[self._scanned :], 0
            self._read = self._read_streamed if self._stream else self._read_whole
            return True
        self._scan()
        if self._scanner.complete and (call := complete_tool_call("".join(self._json))):
            return self._emit_call(*call, brace_due=False)
        return self._reject_block() if self._scanner.complete or self._scanner.failed or self._end else False

    def _read_streamed(self) -> bool:
        """Streams the arguments of a call that has begun."""
        self._scan()
        self._emit_arguments("".join(self._json))
        self._pending = self._pending[self._scanned :]
        self._json, self._scanned = [], 0
        if self._scanner.complete:
            self._brace_due = True
            self._read = self._read_tail
        elif self._scanner.failed:
            self._read = self._read_broken
        return self._scanner.complete or self._scanner.failed

    def _read_whole(self) -> bool:
        """Collects the arguments of a call that begins when they are complete."""
        self._scan()
        if self._scanner.complete:
            return self._emit_call(self._name, "".join(self._json), brace_due=True)
        return self._reject_block() if self._scanner.failed or self._end else False

    def _read_tail(self) -> bool:
        """Skips from the end of the arguments to the closing tag."""
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
        """Streams the rest of arguments that broke JSON, up to a tag."""
        found = first_tag(self._pending, OPEN, CLOSE)
        if found is None:
            certain = len(self._pending) - (0 if self._end else held_back(self._pending, OPEN, CLOSE))
        else:
            certain = found[0]
        self._emit_arguments(self._pending[:certain])
        self._pending = self._pending[certain:].removeprefix(CLOSE)
        return self._close_block() if found else False

    def _scan(self) -> None:
        accepted, self._scanned = self._scanner.feed(self._pending, self._scanned)
        self._json.append(accepted)

    def _emit_call(self, name: str, arguments: str, brace_due: bool) -> bool:
        self._emit_start(name)
        self._emit_arguments(arguments)
        self._pending = self._pending[self._scanned :]
        self._brace_due = brace_due
        self._read = self._read_tail
        return True

    def _emit_start(self, name: str) -> None:
        self._out.append(ToolCallStart(self.calls, name))
        self.calls += 1

    def _emit_arguments(self, text: str) -> None:
        if text:
            self._out.append(ToolCallArguments(self.calls - 1, text))

    def _reject_block(self) -> bool:
        """The tag is content; the text behind it is parsed again."""
        self._out.append(Content(self._opening))
        self._after_call = False
        self._read = self._read_text
        return True

    def _close_block(self) -> bool:
        self._after_call = True
        self._read = self._read_text
        return True
