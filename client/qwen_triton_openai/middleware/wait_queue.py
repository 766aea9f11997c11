"""Places at the model: some at once, some more in a line, first come first served."""

from __future__ import annotations

import asyncio
from collections import deque


class QueueFull(Exception):
    """No place, and none in the line."""


class WaitQueue:
    """`max_in_flight` 0 = no bound. A place is a future, done when the turn has come; every place must be left."""

    def __init__(self, max_in_flight: int, max_queued: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def length(self) -> int:
        return len(self._waiting)

    def enter(self) -> asyncio.Future[None]:
        """A place, now or later. Raises QueueFull."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._max_in_flight or self.in_flight < self._max_in_flight:
            self.in_flight += 1
            place.set_result(None)
        elif len(self._waiting) < self._max_queued:
            self._waiting.append(place)
        else:
            raise QueueFull
        return place

    def leave(self, place: asyncio.Future[None]) -> None:
        """Gives the place back, whether its turn has come or not."""
        if not place.done():
            place.cancel()
            self._waiting.remove(place)
            return
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.in_flight -= 1
