"""Qwen's (Hermes') format of tool calls, a JSON object between tags:

    <tool_call>
    {"name": "get_weather", "arguments": {"city": "Paris"}}
    </tool_call>

The rules:

 1. A call begins once it is certain to be one: with its name and the opening brace of its arguments in the usual
    order, and then its arguments are streamed; in any other order or form (no arguments, arguments as JSON in a
    string) once its object is complete, and then it is returned whole.
 2. A block that breaks JSON before that, or names no function, is no call.
 3. Arguments that break JSON after the call began are returned as they are, up to a closing or opening tag or the end
    of the answer. Such a call never is complete, and the client's JSON parser will refuse its arguments.
 4. A missing outer brace or closing tag is tolerated. Other text behind the arguments ends the block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ..deltas import ToolCallArguments, ToolCallStart
from ..tags import first_tag, held_back
from .json_scanner import JsonScanner
from .tool_call_json import complete_tool_call, tool_call_head
from .tool_format import BLANK, CLOSE, OPEN, BlockState, CallForm, Tools, function_of, parameters_of


class HermesBlock:
    """A `CallBlock`. `_read` is the step that comes next: it consumes `_pending` and returns True, perhaps after it has
    set the next step, or False when it needs more text or the block has ended."""

    __slots__ = (
        "_brace_due", "_end", "_index", "_json", "_out", "_pending", "_read", "_scanned", "_scanner", "complete", "rest",
        "state",
    )  # fmt: skip

    def __init__(self, index: int) -> None:
        self.state = BlockState.UNDECIDED
        self.complete = False
        self.rest = ""
        self._index = index
        self._pending = ""
        self._end = False
        self._out: list[ToolCallStart | ToolCallArguments] = []
        self._scanner = JsonScanner()
        self._scanned = 0
        self._json: list[str] = []
        self._brace_due = False
        self._read: Callable[[], bool] = self._read_head

    def feed(self, text: str, end: bool = False, cut: bool = False) -> list[ToolCallStart | ToolCallArguments]:  # noqa: ARG002  JSON tells by itself whether it is complete
        """The deltas that are certain with this text."""
        pending, self._pending = self._pending, ""
        pending += text  # the only reference: so the string grows in place, and a long block takes linear time
        self._pending = pending
        self._end = end
        while self._read():
            pass
        out, self._out = self._out, []
        return out

    def _read_head(self) -> bool:
        """Until it is certain whether the block is a call."""
        if head := tool_call_head(self._pending):
            name, at = head
            self._begin(name, self._pending[at:])
            self._scanner, self._json = JsonScanner(), []
            self._read = self._read_arguments
            return True
        self._scan()
        scanner = self._scanner
        if scanner.complete and (call := complete_tool_call("".join(self._json))):
            self._begin(call[0], self._pending[self._scanned :])
            self._emit(call[1])
            return self._finish_arguments(brace_due=False)
        if scanner.complete or scanner.failed or self._end:
            self.state = BlockState.REJECTED
        return False

    def _read_arguments(self) -> bool:
        self._scan()
        self._emit("".join(self._json))
        self._pending, self._json, self._scanned = self._pending[self._scanned :], [], 0
        if self._scanner.complete:
            return self._finish_arguments(brace_due=True)
        if self._scanner.failed:
            self.state = BlockState.BROKEN
            self._read = self._read_broken
            return True
        return self._close() if self._end else False

    def _read_broken(self) -> bool:
        """The rest of arguments that broke JSON, up to a tag."""
        found = first_tag(self._pending, OPEN, CLOSE)
        if found is None:
            certain = len(self._pending) - (0 if self._end else held_back(self._pending, OPEN, CLOSE))
        else:
            certain = found[0]
        self._emit(self._pending[:certain])
        self._pending = self._pending[certain:].removeprefix(CLOSE)
        return self._close() if found or self._end else False

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
        return self._close()

    def _scan(self) -> None:
        accepted, self._scanned = self._scanner.feed(self._pending, self._scanned)
        self._json.append(accepted)

    def _begin(self, name: str, behind: str) -> None:
        self.state = BlockState.BEGUN
        self._out.append(ToolCallStart(self._index, name))
        self._pending, self._scanned = behind, 0

    def _emit(self, text: str) -> None:
        if text:
            self._out.append(ToolCallArguments(self._index, text))

    def _finish_arguments(self, brace_due: bool) -> bool:
        self.complete = True
        self._brace_due = brace_due
        self._read = self._read_tail
        return True

    def _close(self) -> bool:
        self.state = BlockState.CLOSED
        self.rest, self._pending = self._pending, ""
        return False


class Hermes:
    """The `ToolFormat` of Qwen2.5 and Qwen3."""

    name = "hermes"
    openings = (OPEN,)

    def for_tools(self, tools: Tools) -> Hermes:  # noqa: ARG002  JSON has types of its own
        """The same for any tools."""
        return self

    def block(self, opening: str, index: int) -> HermesBlock:  # noqa: ARG002  the only tag there is
        """A reader of the call behind the opening tag."""
        return HermesBlock(index)

    def beginning(self, name: str | None) -> str:
        """Up to the colon before the name, or the one before the arguments of the function `name`.

        The blank that follows is part of the model's next token, ` "` or ` {"`.
        """
        begun = OPEN + '\n{"name":'
        return begun if name is None else f'{begun} {json.dumps(name, ensure_ascii=False)}, "arguments":'

    def form(self, tool: Mapping[str, Any]) -> CallForm:
        """The object's text up to the arguments, and its brace and tag behind them."""
        begin = self.beginning(function_of(tool)["name"]) + " "
        return CallForm(begin, "json", parameters_of(tool), "}\n" + CLOSE)


HERMES = Hermes()
