"""Queue deadlines of sequences: finds those that still have no slot when their queue timeout is over.

Knows neither an engine nor what becomes of what it finds.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator

from ..engine import Key

_FEW = 256
"""Deadlines kept without a look at which of them still matter."""


class Deadlines:
    """Deadlines in order of time. `waits(key)`: whether a sequence still has no slot; the others are forgotten."""

    def __init__(self, waits: Callable[[Key], bool]) -> None:
        self._waits = waits
        self._heap: list[tuple[float, Key]] = []
        self._most = _FEW

    def add(self, key: Key, within_s: float) -> None:
        """Adds a sequence that must have a slot within `within_s` seconds from now."""
        heapq.heappush(self._heap, (time.monotonic() + within_s, key))
        if len(self._heap) > self._most:
            self._heap = [entry for entry in self._heap if self._waits(entry[1])]
            heapq.heapify(self._heap)
            self._most = max(_FEW, 2 * len(self._heap))

    def wait_s(self) -> float | None:
        """Seconds to the next deadline, 0 when it has passed, None without any."""
        self._forget()
        return max(0.0, self._heap[0][0] - time.monotonic()) if self._heap else None

    def passed(self) -> Iterator[Key]:
        """Sequences that still wait at their deadline; yields each of them once."""
        while self.wait_s() == 0:
            yield heapq.heappop(self._heap)[1]

    def _forget(self) -> None:
        while self._heap and not self._waits(self._heap[0][1]):
            heapq.heappop(self._heap)
