"""Counts the tokens of an answer's thinking: those between <think> and </think>, where each of these is one token.

Knows ids alone, no text.
"""

from __future__ import annotations

from collections.abc import Sequence


class ThinkingTokens:
    """The count of one sequence. `opened`: the prompt ended within the block; else it must be the answer's first token."""

    __slots__ = ("_closed_at", "_closing", "_opened_at", "_opening", "watched")

    def __init__(self, opening: int, closing: int, *, opened: bool) -> None:
        self._opening = opening
        self._closing = closing
        self._opened_at = 0 if opened else None
        self._closed_at: int | None = None
        self.watched = frozenset((opening, closing))
        """The ids that `feed` must see; chunks without them may be left out."""

    def feed(self, token_ids: Sequence[int], before: int) -> None:
        """New tokens of the answer, `before` of which there were already."""
        for place, token in enumerate(token_ids, before):
            if self._opened_at is None:
                if place == 0 and token == self._opening:
                    self._opened_at = 1
            elif self._closed_at is None and token == self._closing:
                self._closed_at = place

    def count(self, tokens: int) -> int:
        """How many of the answer's `tokens` so far are thinking; the tags are not counted."""
        if self._opened_at is None:
            return 0
        return max(0, (tokens if self._closed_at is None else self._closed_at) - self._opened_at)
