"""Checks a JSON object while its text arrives: which text belongs to it, where it ends, where it breaks.

Strict with one exception, because models do it: line ends and other control characters in strings are escaped instead
of refused. Builds no values; the result is the JSON text itself.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto

_BLANK = " \t\r\n"
_PLAIN = re.compile(r'[^"\\\x00-\x1f]+')
_SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_SCALAR_LETTERS = frozenset("0123456789+-.eEtrufalsn")
_HEX = frozenset("0123456789abcdefABCDEF")


class _State(Enum):
    """What may follow."""

    BEGIN = auto()
    VALUE = auto()
    VALUE_OR_END = auto()
    KEY = auto()
    KEY_OR_END = auto()
    COLON = auto()
    COMMA_OR_END = auto()
    SCALAR = auto()
    STRING = auto()
    ESCAPE = auto()
    HEX = auto()
    DONE = auto()
    FAILED = auto()


class JsonScanner:
    """Scans one object, until it is `complete` or has `failed`."""

    __slots__ = ("_ends", "_hex_left", "_is_key", "_scalar", "_state")

    def __init__(self) -> None:
        self._state = _State.BEGIN
        self._ends: list[str] = []
        self._is_key = False
        self._hex_left = 0
        self._scalar = ""

    @property
    def complete(self) -> bool:
        """Whether the closing brace was read."""
        return self._state is _State.DONE

    @property
    def failed(self) -> bool:
        """Whether there was a character that cannot follow; it was not consumed."""
        return self._state is _State.FAILED

    def feed(self, text: str, start: int = 0) -> tuple[str, int]:
        """Scans `text` from `start`. Returns the JSON text, and the index of its end: by the object, a fault or the text."""
        accepted: list[str] = []
        at = start
        while at < len(text) and not (self.complete or self.failed):
            inside = self._state is _State.STRING
            if inside and (run := _PLAIN.match(text, at)):
                accepted.append(run[0])
                at = run.end()
                continue
            char = text[at]
            self._state = self._next(char)
            if not self.failed:
                accepted.append(json.dumps(char)[1:-1] if inside and char < " " else char)
                at += 1
        return "".join(accepted), at

    def _next(self, char: str) -> _State:
        if self._state in (_State.STRING, _State.ESCAPE, _State.HEX):
            return self._next_in_string(char)
        if self._state is _State.SCALAR:
            if char in _SCALAR_LETTERS:
                self._scalar += char
                return _State.SCALAR
            if not _SCALAR.fullmatch(self._scalar):
                return _State.FAILED
            self._state = _State.COMMA_OR_END
        return self._state if char in _BLANK else self._next_in_structure(char)

    def _next_in_string(self, char: str) -> _State:
        if self._state is _State.STRING:
            after = _State.COLON if self._is_key else _State.COMMA_OR_END
            return {'"': after, "\\": _State.ESCAPE}.get(char, _State.STRING)
        if self._state is _State.ESCAPE:
            self._hex_left = 4
            return _State.HEX if char == "u" else _State.STRING if char in '"\\/bfnrt' else _State.FAILED
        self._hex_left -= 1
        if char not in _HEX:
            return _State.FAILED
        return _State.HEX if self._hex_left else _State.STRING

    def _next_in_structure(self, char: str) -> _State:
        state = self._state
        if state in (_State.VALUE_OR_END, _State.KEY_OR_END, _State.COMMA_OR_END) and char == self._ends[-1]:
            self._ends.pop()
            return _State.COMMA_OR_END if self._ends else _State.DONE
        if state is _State.COMMA_OR_END:
            return _State.FAILED if char != "," else _State.KEY if self._ends[-1] == "}" else _State.VALUE
        if state is _State.COLON:
            return _State.VALUE if char == ":" else _State.FAILED
        if char == '"' and state is not _State.BEGIN:
            self._is_key = state in (_State.KEY, _State.KEY_OR_END)
            return _State.STRING
        if state in (_State.KEY, _State.KEY_OR_END):
            return _State.FAILED
        return self._next_in_value(char)

    def _next_in_value(self, char: str) -> _State:
        if char == "{":
            self._ends.append("}")
            return _State.KEY_OR_END
        if self._state is _State.BEGIN:
            return _State.FAILED
        if char == "[":
            self._ends.append("]")
            return _State.VALUE_OR_END
        self._scalar = char
        return _State.SCALAR if char in _SCALAR_LETTERS else _State.FAILED
