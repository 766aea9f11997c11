"""The format of Qwen3-Coder and Qwen3.5: a function and its parameters between tags.

    <tool_call>
    <function=get_weather>
    <parameter=city>
    Paris
    </parameter>
    </function>
    </tool_call>

The rules:

 1. A call begins once its function's tag is followed by a parameter or by the function's end. A block that is anything
    else is no call. Without <tool_call> before it the function must be one of the request's.
 2. Arguments are given out as the JSON object they mean, typed by the tool's schema (see `argument_types`): text as it
    comes, any other value when it is complete. One line end on each side of a value is markup.
 3. A tag within a value is text unless what must follow it does: behind </parameter> another tag of the call, behind
    </function> the end of the block, and in a block that <tool_call> opened, behind </parameter></function> as well. A
    function's tag at the beginning of a line of a value begins a call that is quoted there: up to its </function> all tags
    are text, but for those that end the whole answer.
 4. Closing tags may be missing. A <parameter=…> at the beginning of a line ends the value before it if the function has
    such a parameter and it was not given yet.
 5. A value that the answer's end cuts off stays open, so the JSON does too, and the call is not complete. At the end
    between two parameters it is complete, unless the answer did not end by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ..deltas import ToolCallArguments, ToolCallStart
from ..tags import held_back
from .argument_types import ArgumentTypes, argument_types
from .tool_format import BLANK, CLOSE, OPEN, BlockState, CallForm, Tools, function_of, parameters_of

FUNCTION, END_FUNCTION = "<function=", "</function>"
PARAMETER, END_PARAMETER = "<parameter=", "</parameter>"
NAME_LIMIT = 512
"""The most characters of a function's or a parameter's name. Bounds a search."""
BLANKS_LIMIT = 256
"""The most blanks between two tags. Bounds what is held back and read again."""
_NAME = re.compile(rf"([^<>\r\n]{{1,{NAME_LIMIT}}})>")
_NAME_BEGUN = re.compile(rf"[^<>\r\n]{{0,{NAME_LIMIT}}}")
_VALUE_TAGS = (END_PARAMETER, END_FUNCTION, CLOSE, PARAMETER, FUNCTION)
_VALUE_TAG = re.compile("|".join(map(re.escape, _VALUE_TAGS)))
_BEHIND_BLOCK = (CLOSE, OPEN, FUNCTION)
_WINDOW = BLANKS_LIMIT + NAME_LIMIT + 64
"""So many characters behind a tag decide what it is."""
_UNKNOWN = ArgumentTypes(None)


class Qwen3CoderBlock:
    """A `CallBlock`. `_read` is the step that comes next, as in `HermesBlock`: it consumes `_pending` and returns True, or
    False when it needs more text or the block has ended."""

    __slots__ = (
        "_arguments", "_cut", "_end", "_given", "_index", "_key", "_lead", "_open", "_out", "_pending", "_quoted", "_read",
        "_tools", "_types", "_value", "_wrapped", "complete", "rest", "state",
    )  # fmt: skip

    def __init__(self, index: int, opening: str, tools: Mapping[str, ArgumentTypes]) -> None:
        self.state = BlockState.UNDECIDED
        self.complete = False
        self.rest = ""
        self._index = index
        self._wrapped = opening == OPEN
        self._tools = tools
        self._types = _UNKNOWN
        self._pending = "" if self._wrapped else FUNCTION
        self._end = self._cut = False
        self._out: list[ToolCallStart | ToolCallArguments] = []
        self._arguments: list[str] = []
        self._given: set[str] = set()
        self._key = ""
        self._value: list[str] = []
        self._lead = False
        self._quoted = 0
        self._open = False
        self._read: Callable[[], bool] = self._read_head

    def feed(self, text: str, end: bool = False, cut: bool = False) -> list[ToolCallStart | ToolCallArguments]:
        """The deltas that are certain with this text."""
        self._pending += text
        self._end, self._cut = end, cut
        while self._read():
            pass
        if written := "".join(self._arguments):
            self._out.append(ToolCallArguments(self._index, written))
        out, self._out, self._arguments = self._out, [], []
        return out

    def _read_head(self) -> bool:
        """Until it is certain whether the block is a call."""
        text = self._pending.lstrip(BLANK)
        if len(self._pending) - len(text) > BLANKS_LIMIT:
            return self._undecided(False)
        if not text.startswith(FUNCTION):
            return self._undecided(FUNCTION.startswith(text))
        named = _NAME.match(text, len(FUNCTION))
        if named is None:
            begun = _NAME_BEGUN.match(text, len(FUNCTION))
            return self._undecided(begun is not None and begun.end() == len(text))
        name = named[1].strip()
        known = name in self._tools or self._wrapped or not self._tools
        if not name or not known:
            return self._undecided(False)
        tags = (PARAMETER, END_FUNCTION, CLOSE) if self._wrapped else (PARAMETER, END_FUNCTION)
        follows = _follows(text, named.end(), tags)
        if follows is not True:
            return self._undecided(follows is None)
        self.state = BlockState.BEGUN
        self._types = self._tools.get(name, _UNKNOWN)
        self._out.append(ToolCallStart(self._index, name))
        self._pending = text[named.end() :]
        self._read = self._read_between
        return True

    def _undecided(self, possible: bool) -> bool:
        """False; the block is rejected unless it may still become a call."""
        if self._end or not possible:
            self.state = BlockState.REJECTED
        return False

    def _read_between(self) -> bool:
        """Between parameters: the next one, or the end of the arguments."""
        text = self._pending = self._pending.lstrip(BLANK)
        if text.startswith(PARAMETER):
            return self._begin_parameter(text)
        if text.startswith(END_FUNCTION):
            self._finish_arguments()
            self._pending = text[len(END_FUNCTION) :]
            return True
        if text.startswith(_BEHIND_BLOCK):
            self._finish_arguments()
            return True
        closing = any(tag.startswith(text) for tag in (END_FUNCTION, *_BEHIND_BLOCK))
        if not closing and not PARAMETER.startswith(text):
            return self._break()
        if self._end:
            if closing and not self._cut:
                self._finish_arguments()
            self._close("")
        return False

    def _begin_parameter(self, text: str) -> bool:
        named = _NAME.match(text, len(PARAMETER))
        if named is None:
            begun = _NAME_BEGUN.match(text, len(PARAMETER))
            if begun is None or begun.end() < len(text):
                return self._break()
            if self._end:
                self._close("")
            return False
        self._key = named[1]
        self._given.add(self._key)
        self._arguments.append(f"{', ' if self._open else '{'}{json.dumps(self._key, ensure_ascii=False)}: ")
        self._open = True
        if self._types.is_text(self._key):
            self._arguments.append('"')
        self._lead = True
        self._pending = text[named.end() :]
        self._read = self._read_value
        return True

    def _read_value(self) -> bool:
        """A value up to the tag that ends it."""
        text, at = self._pending, 0
        if "<" not in text:  # the usual case
            return self._hold(text, len(text))
        while found := _VALUE_TAG.search(text, at):
            ends = self._ends_value(text, found)
            if ends is None:
                return self._hold(text, found.start())
            if ends:
                behind = found.end() if found[0] == END_PARAMETER else found.start()
                self._finish_value(text[: found.start()])
                self._pending = text[behind:]
                self._read = self._read_between
                return True
            at = found.start() + 1
        return self._hold(text, len(text) - held_back(text, *_VALUE_TAGS))

    def _ends_value(self, text: str, found: re.Match[str]) -> bool | None:
        """Whether a tag within a value ends it; None where that is not known yet."""
        tag, end = found[0], found.end()
        line = found.start() > 0 and text[found.start() - 1] == "\n"
        if tag == FUNCTION:
            return self._quotes(text, end) if line else False
        if self._quoted:
            self._quoted -= tag == END_FUNCTION
            return self._ends_answer(text, end) if tag == END_PARAMETER else False
        if tag == END_PARAMETER:
            follows = self._follows(text, end, (PARAMETER, *_BEHIND_BLOCK))
            return follows or self._function_ends(text, end) if follows is not None else None
        if tag == END_FUNCTION:
            return self._follows(text, end, _BEHIND_BLOCK)
        if tag == CLOSE:
            return line and self._follows(text, end, (OPEN,))
        return line and self._new_parameter(text, end)

    def _quotes(self, text: str, end: int) -> bool | None:
        """False, once it is certain whether a function's tag begins a quoted call."""
        begun = _NAME_BEGUN.match(text, end)
        if begun is not None and begun.end() == len(text) and not self._end:
            return None
        self._quoted += _NAME.match(text, end) is not None
        return False

    def _ends_answer(self, text: str, at: int) -> bool | None:
        """Whether nothing but the closing tags of the block follows, up to the answer's end."""
        behind = text[at : at + _WINDOW]
        for tag in (END_FUNCTION, CLOSE):
            behind = behind.lstrip(BLANK)
            if not behind.startswith(tag):
                return (self._end or None) if tag.startswith(behind) else False
            behind = behind[len(tag) :]
        if behind.strip(BLANK) or len(behind) > BLANKS_LIMIT:
            return False
        return self._end or None

    def _function_ends(self, text: str, end: int) -> bool | None:
        """Whether the function's end follows, and the block's behind it where that has a tag."""
        follows = self._follows(text, end, (END_FUNCTION,))
        if not follows or not self._wrapped or (at := text.find(END_FUNCTION, end, end + _WINDOW)) < 0:
            return follows
        return self._follows(text, at + len(END_FUNCTION), _BEHIND_BLOCK)

    def _new_parameter(self, text: str, end: int) -> bool | None:
        """Whether a parameter's tag is that of one which may come here."""
        named = _NAME.match(text, end)
        if named is None:
            begun = _NAME_BEGUN.match(text, end)
            return None if begun and begun.end() == len(text) and not self._end else False
        return named[1] not in self._given and self._types.may_have(named[1])

    def _follows(self, text: str, at: int, tags: tuple[str, ...]) -> bool | None:
        """As the function; at the answer's end what may still become a tag is one."""
        follows = _follows(text, at, tags)
        return True if follows is None and self._end else follows

    def _hold(self, text: str, at: int) -> bool:
        """False; the value up to `at` is certain, but for a line end, which may be markup."""
        certain = at - (1 if text.endswith("\n", 0, at) else 0)
        self._extend_value(text[:certain])
        self._pending = text[certain:]
        if self._end:
            self._arguments += self._value
            self._close("")
        return False

    def _extend_value(self, text: str) -> None:
        if not text:
            return
        if self._lead:
            self._lead = False
            text = text.removeprefix("\n")
        if self._types.is_text(self._key):
            self._arguments.append(json.dumps(text, ensure_ascii=False)[1:-1])
        else:
            self._value.append(text)

    def _finish_value(self, text: str) -> None:
        if not (self._lead and text == "\n"):  # one line end is the one behind the opening tag
            text = text.removesuffix("\n")
        self._extend_value(text)
        if self._types.is_text(self._key):
            self._arguments.append('"')
        else:
            self._arguments.append(self._types.to_json(self._key, "".join(self._value)))
        self._value = []

    def _finish_arguments(self) -> None:
        self._arguments.append("}" if self._open else "{}")
        self.complete = True
        self._read = self._read_tail

    def _read_tail(self) -> bool:
        """From the end of the arguments to the closing tag, if there is one."""
        text = self._pending = self._pending.lstrip(BLANK)
        if text.startswith(CLOSE) or self._end or not CLOSE.startswith(text):
            self._close(text.removeprefix(CLOSE))
        return False

    def _break(self) -> bool:
        """The text that is no parameter is given out as it is, up to the block's closing tag."""
        self.state = BlockState.BROKEN
        self._read = self._read_broken
        return True

    def _read_broken(self) -> bool:
        text = self._pending
        at = text.find(CLOSE)
        certain = at if at >= 0 else len(text) - (0 if self._end else held_back(text, CLOSE))
        self._arguments.append(text[:certain])
        self._pending = text[certain:]
        if at >= 0 or self._end:
            self._close(self._pending.removeprefix(CLOSE))
        return False

    def _close(self, rest: str) -> None:
        self.state = BlockState.CLOSED
        self.rest, self._pending = rest, ""


def _follows(text: str, at: int, tags: tuple[str, ...]) -> bool | None:
    """Whether blanks and one of the tags are at `at`; None where that is not known yet."""
    behind = text[at : at + _WINDOW]
    tag = behind.lstrip(BLANK)
    if len(behind) - len(tag) > BLANKS_LIMIT:
        return False
    if tag.startswith(tags):
        return True
    return None if any(known.startswith(tag) for known in tags) else False


class Qwen3Coder:
    """The `ToolFormat` of Qwen3-Coder, Qwen3.5 and their successors. `tools`: the parameters of each function."""

    name = "qwen3_coder"
    openings = (OPEN, FUNCTION)

    def __init__(self, tools: Mapping[str, ArgumentTypes] | None = None) -> None:
        self._tools = tools or {}

    def for_tools(self, tools: Tools) -> Qwen3Coder:
        """The format with the types of these tools' parameters."""
        return Qwen3Coder(argument_types(tools))

    def block(self, opening: str, index: int) -> Qwen3CoderBlock:
        """A reader of the call behind either tag."""
        return Qwen3CoderBlock(index, opening, self._tools)

    def beginning(self, name: str | None) -> str:
        """Up to the equals sign before the name, which the model writes as one token with it, or to its first parameter."""
        begun = OPEN + "\n" + FUNCTION.removesuffix("=")
        return begun if name is None else f"{begun}={name}>\n"

    def form(self, tool: Mapping[str, Any]) -> CallForm:
        """The function's tag, and the tags behind its parameters."""
        begin = self.beginning(function_of(tool)["name"])
        return CallForm(begin, "qwen_xml", parameters_of(tool), f"\n{END_FUNCTION}\n{CLOSE}")


QWEN3_CODER = Qwen3Coder()
