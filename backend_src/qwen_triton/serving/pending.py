"""Chunks merge while they wait: what every sequence gained since its last turn, oldest first.

Hot: `add` runs for every token of every request, so plain chunks are only lists that grow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

from ..types import TokenChunk

Extras = Mapping[str, Any]
"""What a chunk has beside its ids, by TokenChunk's field names (see wire.encode_chunk)."""

_JOINED = ("log_probs", "top_log_probs")


class PendingChunks:
    """Chunks by sequence key, as they came through the door."""

    def __init__(self) -> None:
        self._ids: dict[int, list[int]] = {}
        self._extras: dict[int, dict[str, Any]] = {}
        self._beams: deque[tuple[int, TokenChunk]] = deque()

    def __bool__(self) -> bool:
        return bool(self._ids or self._beams)

    def add(self, key: int, token_ids: list[int], extras: Extras | None) -> None:
        """Takes a chunk; it is merged with what waits for the same key. Beams are kept apart."""
        if extras and ("sequence" in extras or "last" in extras):
            self._beams.append((key, TokenChunk(token_ids, **extras)))
            return
        waiting = self._ids.get(key)
        if waiting is None:
            self._ids[key] = token_ids
        else:
            waiting += token_ids
        if extras:
            self._merge(key, extras)

    def pop(self) -> tuple[int, TokenChunk]:
        """The chunk of the sequence that has waited longest."""
        if self._beams:
            return self._beams.popleft()
        key = next(iter(self._ids))
        return key, TokenChunk(self._ids.pop(key), **self._extras.pop(key, {}))

    def _merge(self, key: int, extras: Extras) -> None:
        waiting = self._extras.setdefault(key, {})
        for name, value in extras.items():
            waiting[name] = [*waiting.get(name, ()), *value] if name in _JOINED else value
