"""Chunks that wait for a sender, merged by sequence: an idle server sends each token at once, a busy one several together.

Hot: `add` runs for every token of every request. It extends the lists of chunks that wait already, so whoever adds a
chunk must not use its lists any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from ..engines.process.chunks import merge_chunks
from ..types import TokenChunk

_Key = TypeVar("_Key", bound=Hashable)


class PendingChunks(Generic[_Key]):
    """Waiting chunks by the key of their sequence, one for each, in order of arrival."""

    def __init__(self) -> None:
        self._chunks: dict[_Key, TokenChunk] = {}
        self._beams: deque[tuple[_Key, TokenChunk]] = deque()

    def __bool__(self) -> bool:
        return bool(self._chunks or self._beams)

    def add(self, key: _Key, chunk: TokenChunk) -> None:
        """Adds a chunk to the one that waits for the same key. Chunks of several beams are never merged."""
        if chunk.sequence or not chunk.last:
            self._beams.append((key, chunk))
            return
        waiting = self._chunks.get(key)
        self._chunks[key] = chunk if waiting is None else merge_chunks(waiting, chunk)

    def take(self, key: _Key) -> TokenChunk | None:
        """Takes away the chunk that waits for a key, if any; chunks of several beams stay."""
        return self._chunks.pop(key, None)

    def first(self) -> _Key:
        """The key that `pop` returns."""
        return self._beams[0][0] if self._beams else next(iter(self._chunks))

    def pop(self) -> tuple[_Key, TokenChunk]:
        """The key that has waited longest and its chunk; chunks of beams go before all others."""
        if self._beams:
            return self._beams.popleft()
        key = next(iter(self._chunks))
        return key, self._chunks.pop(key)
