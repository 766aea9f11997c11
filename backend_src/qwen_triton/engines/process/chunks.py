"""Chunks of one sequence put together: several as one, and those that are kept until enough tokens are there.

Knows neither where chunks come from nor who reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...types import TokenChunk

PLAIN = TokenChunk()[1:]
"""What follows the token ids in a chunk that has nothing else."""
_new = tuple.__new__


def plain_chunk(token_ids: Sequence[int]) -> TokenChunk:
    """A chunk with nothing but token ids. Hot: the constructor takes several times as long."""
    return _new(TokenChunk, (token_ids,) + PLAIN)  # noqa: RUF005  (ids, *PLAIN) is slower


def merge_chunks(first: TokenChunk, second: TokenChunk) -> TokenChunk:
    """One chunk with the tokens and log probs of both, in order, and of all else the latest that differs from a default.

    The lists of `first` are extended: whoever added it must not use them any more. Hot: runs for every token that waits.
    """
    if second[1:] == PLAIN and isinstance(first.token_ids, list):
        first.token_ids.extend(second.token_ids)
        return first
    defaults = PLAIN[2:]
    others = first[3:] if second[3:] == defaults else map(_latest, first[3:], second[3:], defaults)
    return TokenChunk(
        _join(first.token_ids, second.token_ids),
        _join(first.log_probs, second.log_probs),
        _join(first.top_log_probs, second.top_log_probs),
        *others,
    )


class ChunkCollector:
    """Keeps chunks of a sequence until `least` tokens are there (0: until its end). The first chunk is never kept.

    So a client of a whole answer costs its model a message at the beginning, one at the end, and none for each token;
    the first says when the answer began.
    """

    def __init__(self, least: int) -> None:
        self._least = least
        self._begun = False
        self._kept: TokenChunk | None = None

    def add(self, chunk: TokenChunk) -> TokenChunk | None:
        """The chunk that is due, with all that was kept; None while none is."""
        if not self._begun:
            self._begun = True
            return chunk
        kept = self._kept = merge_chunks(TokenChunk([]) if self._kept is None else self._kept, chunk)
        if kept.finish is None and (not self._least or len(kept.token_ids) < self._least):
            return None
        self._kept = None
        return kept

    def end(self, chunk: TokenChunk) -> TokenChunk:
        """What was kept, with `chunk` as the last."""
        return chunk if self._kept is None else merge_chunks(self._kept, chunk)


def _join(first: Sequence[Any], second: Sequence[Any]) -> Sequence[Any]:
    if not second:
        return first
    if isinstance(first, list):
        first.extend(second)
        return first
    return [*first, *second]


def _latest(first: Any, second: Any, default: Any) -> Any:
    return first if second == default else second
