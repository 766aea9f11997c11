"""Hides control tokens that a client wrote into a message, so that they stay plain text.

Before a template is rendered, the first character of every control token in messages and tools is replaced by a mark
that occurs nowhere in them. So the output has no control tokens but the template's own, lengths do not change, and
putting the characters back gives the text that the template would have rendered anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import InvalidRequest
from ..text.tokenizer import Tokenizer

_PRIVATE_USE = range(0xE000, 0xF8FF)

Marks = dict[str, str]
"""The mark for each first character of a control token; empty where there is nothing to hide."""


class ControlTokens:
    """The control tokens of one tokenizer. Immutable and thread-safe."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pattern = tokenizer.special_pattern
        self._first_characters = sorted({token[0] for token in tokenizer.special_tokens})

    def marks_for(self, *values: object) -> Marks:
        """Marks that occur in no text of these nested values; none if no text has a control token.

        Raises InvalidRequest where the texts use up the private-use characters.
        """
        text = "\n".join(_texts(values))
        if not self._pattern.search(text):
            return {}
        unused = (mark for code in _PRIVATE_USE if (mark := chr(code)) not in text)
        marks = dict(zip(self._first_characters, unused, strict=False))
        if len(marks) < len(self._first_characters):
            raise InvalidRequest("uses every private-use character there is; leave some out", "messages")
        return marks

    def hide(self, value: Any, marks: Marks) -> Any:
        """A copy of a nested value in which each control token begins with its mark."""
        if isinstance(value, str):
            return self._pattern.sub(lambda found: marks[found[0][0]] + found[0][1:], value)
        if isinstance(value, Mapping):
            return {self.hide(key, marks): self.hide(item, marks) for key, item in value.items()}
        if isinstance(value, Sequence) and not isinstance(value, bytes):
            return [self.hide(item, marks) for item in value]
        return value

    def show(self, text: str, marks: Marks) -> str:
        """The text with its hidden control tokens as they were written."""
        for first, mark in marks.items():
            text = text.replace(mark, first)
        return text

    def encode(self, text: str, marks: Marks) -> list[int]:
        """The ids of a rendered text: its control tokens as such, those hidden in it as plain text."""
        if not marks:
            return self._tokenizer.encode(text, control_tokens=True, field="messages")
        pieces = self._pattern.split(text)
        pieces[::2] = [self.show(piece, marks) for piece in pieces[::2]]
        return self._tokenizer.encode_pieces(pieces, field="messages")


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
