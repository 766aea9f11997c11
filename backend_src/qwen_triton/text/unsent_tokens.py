"""Holds tokens until their text is sent, so that log probs arrive together with the text they belong to."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

TopLogProbs = Sequence[tuple[int, float]]


class Tokens(NamedTuple):
    """Tokens of one sequence in order. The log probs are empty unless requested, else one for each token id."""

    token_ids: Sequence[int] = ()
    log_probs: Sequence[float] = ()
    top_log_probs: Sequence[TopLogProbs] = ()

    def first(self, count: int) -> Tokens:
        """The first `count` of them."""
        return Tokens(self.token_ids[:count], self.log_probs[:count], self.top_log_probs[:count])


class UnsentTokens:
    """Unsent tokens in order, each with the position in the text, in characters, at which it begins."""

    __slots__ = ("_log_probs", "_starts", "_token_ids", "_top_log_probs")

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._token_ids: list[int] = []
        self._log_probs: list[float] = []
        self._top_log_probs: list[TopLogProbs] = []

    def __bool__(self) -> bool:
        return bool(self._token_ids)

    def add(self, tokens: Tokens, starts: Sequence[int]) -> None:
        """Appends tokens; `starts[i]` is where `tokens.token_ids[i]` begins, and never decreases."""
        self._starts += starts
        self._token_ids += tokens.token_ids
        self._log_probs += tokens.log_probs
        self._top_log_probs += tokens.top_log_probs

    def through(self, tokens: Tokens, starts: Sequence[int], before: int) -> Tokens:
        """Appends tokens and removes and returns those that begin before the position: usually just these."""
        if not self._starts and starts and starts[-1] < before:
            return tokens
        self.add(tokens, starts)
        return self.release(before)

    def release(self, before: int) -> Tokens:
        """Removes and returns the tokens that begin before this position: those of whose text some has been sent."""
        count = bisect_left(self._starts, before)
        released = Tokens(self._token_ids[:count], self._log_probs[:count], self._top_log_probs[:count])
        for column in (self._starts, self._token_ids, self._log_probs, self._top_log_probs):
            del column[:count]
        return released

    def release_all(self) -> Tokens:
        """Removes and returns all of them."""
        return self.release(self._starts[-1] + 1 if self._starts else 0)
