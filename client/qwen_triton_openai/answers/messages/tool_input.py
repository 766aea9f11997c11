"""The input of one tool call as JSON that every reader takes, while its text arrives.

A client of this API parses the text of an input strictly, also of one that was cut. So of what a model wrote only the
beginning that is a JSON object's is kept: behind a fault nothing follows, a number or a word follows once it is complete,
and an escape of half a surrogate pair becomes U+FFFD. The result does not depend on how the text was cut.
"""

from __future__ import annotations

import re

from qwen_triton.chat.tool_formats.json_scanner import JsonScanner

_DEEPEST = 64
"""Levels of nested lists and objects; parsers of clients end at about 200."""
_PLAIN = re.compile(r'[^"\\]+|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}')
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")
_HALF = re.compile(r"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_FIRST_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}(?:\\(?:u(?:[dD](?:[c-fC-F][0-9a-fA-F]?)?)?)?)?\Z")
"""A first half whose second one may still come."""
_OPEN_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_STRUCTURE = re.compile(r"[\s,:{}\[\]]")
_SCALAR = re.compile(r'[^\s,:{}\[\]"]+')
_CLOSING = {"{": "}", "[": "]"}


class ToolInput:
    """Reads the text of one input. `intact`: the object is complete, and nothing of it was left out."""

    __slots__ = ("_at_key", "_closed", "_closers", "_ended", "_held", "_in_string", "_safe", "_scanner", "_text")

    def __init__(self) -> None:
        self._scanner = JsonScanner()
        self._held = ""
        self._text: list[str] = []
        self._safe, self._closed = 0, "{}"
        """The pieces of `_text` that, with `_closed` behind them, are an object."""
        self._closers: list[str] = []
        self._in_string = self._at_key = self._ended = False

    @property
    def intact(self) -> bool:
        return self._scanner.complete and not self._ended

    @property
    def json(self) -> str:
        """The object as far as it goes: values and members that are not complete are left out of it."""
        return "".join(self._text[: self._safe]) + self._closed

    def feed(self, text: str) -> str:
        """The part of the input that is certain with this text; together the parts are the beginning of `json`."""
        if self._ended or self._scanner.complete:
            return ""
        accepted, _ = self._scanner.feed(text)
        pending, self._held = self._held + accepted, ""
        before, at = len(self._text), 0
        while at < len(pending) and not self._ended:
            end = self._string(pending, at) if self._in_string else self._structure(pending, at)
            if end == at:
                self._held = pending[at:]
                break
            at = end
        self._ended = self._ended or self._scanner.failed
        return "".join(self._text[before:])

    def _string(self, pending: str, at: int) -> int:
        """Within a string: the index behind what is certain at `at`; `at` itself where more text must come."""
        if pending[at] == '"':
            self._in_string = False
            self._text.append('"')
            if not self._at_key:
                self._mark()
            return at + 1
        if found := _PLAIN.match(pending, at) or _PAIR.match(pending, at):
            self._text.append(found[0])
            return found.end()
        if _FIRST_HALF.match(pending, at) or _OPEN_ESCAPE.match(pending, at):
            return at
        half = _HALF.match(pending, at)
        assert half is not None, "the scanner has accepted it, and it is nothing else"
        self._text.append("\\ufffd")
        return half.end()

    def _structure(self, pending: str, at: int) -> int:
        """Outside of strings: as `_string`."""
        char = pending[at]
        if char == '"':
            self._in_string = True
            self._text.append(char)
            return at + 1
        if _STRUCTURE.match(char):
            self._mark_structure(char)
            return at + 1
        found = _SCALAR.match(pending, at)
        assert found is not None
        if found.end() == len(pending):
            return at
        self._text.append(found[0])
        self._mark()
        return found.end()

    def _mark_structure(self, char: str) -> None:
        if char in "{[":
            if len(self._closers) == _DEEPEST:
                self._ended = True
                return
            self._closers.append(_CLOSING[char])
        elif char in "}]":
            self._closers.pop()
        self._text.append(char)
        if char in "{[}]":
            self._mark()
        if char in "{[},:]":
            self._at_key = char in "{," and self._closers[-1:] == ["}"]

    def _mark(self) -> None:
        """Behind a complete value, or where a list or an object begins."""
        self._safe, self._closed = len(self._text), "".join(reversed(self._closers))
