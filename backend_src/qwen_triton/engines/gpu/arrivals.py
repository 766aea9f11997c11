"""Sequences that arrive one by one and begin together.

A step that begins prompts costs all sequences in it more than one that only goes on with answers; where such steps are not
captured as CUDA graphs, six times as much (docs/vllm.md). Callers who ask again when they are answered come one by one, so
that without a pause every third step of a busy engine may be such a step. Knows no library.
"""

from __future__ import annotations

from typing import Generic, TypeVar

_Item = TypeVar("_Item")


class Arrivals(Generic[_Item]):
    """Hands sequences on in groups, at most one group in `pause_s` seconds.

    The first sequence after a pause waits for nothing, and so does a group whose prompts have `full_tokens` together,
    because it fills a step. Times are seconds of time.monotonic().
    """

    def __init__(self, pause_s: float, full_tokens: int) -> None:
        self._pause_s = pause_s
        self._full_tokens = full_tokens
        self._items: dict[str, tuple[_Item, int]] = {}
        self._tokens = 0
        self._next_at = 0.0

    def add(self, name: str, item: _Item, tokens: int) -> None:
        """Adds a sequence whose prompt has so many tokens."""
        self._items[name] = item, tokens
        self._tokens += tokens

    def take_back(self, name: str) -> bool:
        """Takes a sequence out; False where it has been handed on."""
        _, tokens = self._items.pop(name, (None, None))
        if tokens is None:
            return False
        self._tokens -= tokens
        return True

    def wait_s(self, now: float) -> float | None:
        """Seconds until a group is due; None where none waits."""
        if not self._items:
            return None
        return 0.0 if self._tokens >= self._full_tokens else max(0.0, self._next_at - now)

    def due(self, now: float) -> list[_Item]:
        """The group, in order of arrival, once it is due; nothing before."""
        if self.wait_s(now) != 0.0:
            return []
        items = [item for item, _ in self._items.values()]
        self._items.clear()
        self._tokens = 0
        self._next_at = now + self._pause_s
        return items
