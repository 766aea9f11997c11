"""Keeps control tokens that a caller wrote into a message from controlling anything.

Before a template is rendered, the first character of every control token inside messages and tools is replaced by a
mark that occurs nowhere in them; so the template's own control tokens are the only ones in its output, lengths stay
as they were, and putting the character back gives the text that would have come out anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import InvalidRequest
from ..text.tokenizer import Tokenizer

_PRIVATE_USE = range(0xE000, 0xF8FF)

Marks = dict[str, str]
"""The mark that stands for each first character of a control token; empty where there is nothing to hide."""


class ControlTokens:
    """The control tokens of one tokenizer. Immutable; any number of threads may use it."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pattern = tokenizer.special_pattern
        self._first_characters = sorted({token[0] for token in tokenizer.special_tokens})

    def marks_for(self, *values: object) -> Marks:
        """Marks that occur in none of the texts in these nested values, if any of them holds a control token."""
        text = "\n".join(_texts(values))
        if not self._pattern.search(text):
            return {}
        unused = (mark for code in _PRIVATE_USE if (mark := chr(code)) not in text)
        marks = dict(zip(self._first_characters, unused, strict=False))
        if len(marks) < len(self._first_characters):
            raise InvalidRequest("uses every private-use character there is; leave some out", "messages")
        return marks

    def hide(self, value: Any, marks: Marks) -> Any:
        """A copy of a nested value in which each control token begins with its mark instead."""
        if isinstance(value, str):
            return self._pattern.sub(lambda found: marks[found[0][0]] + found[0][1:], value)
        if isinstance(value, Mapping):
            return {self.hide(key, marks): self.hide(item, marks) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self.hide(item, marks) for item in value]
        return value

    def show(self, text: str, marks: Marks) -> str:
        """The text with the control tokens as they were written."""
        for first, mark in marks.items():
            text = text.replace(mark, first)
        return text

    def encode(self, text: str, marks: Marks) -> list[int]:
        """The ids of a rendered text: its control tokens control, those hidden in it are plain text."""
        if not marks:
            return self._tokenizer.encode(text, control_tokens=True, field="messages")
        ids: list[int] = []
        for i, piece in enumerate(self._pattern.split(text)):
            if i % 2:
                ids.append(self._tokenizer.special_tokens[piece])
            elif piece:
                ids += self._tokenizer.encode(self.show(piece, marks), field="messages")
        return ids


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _texts(key)
            yield from _texts(item)
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for item in value:
            yield from _texts(item)
