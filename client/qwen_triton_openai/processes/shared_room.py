"""Slots in memory that the workers share with the main process: a worker takes and gives back without asking anybody.

The memory has the sequences that each worker generates, and behind them the number of requests that wait in the main process
(middleware/queue.WaitQueue): while some wait, a new request must ask there for its turn. Every look and change is made under a
lock of the memory's file, which ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from .shared_numbers import new_numbers, numbers_in


def new_memory(workers: int) -> int:
    """A descriptor of memory for so many workers, in which nothing is taken."""
    return new_numbers("slots", workers + 1)


class SharedRoom:
    """A `queue.Room` of all workers. `most`: sequences at once, 0 = no bound. `place`: that of a worker in the memory."""

    def __init__(self, memory: int, most: int) -> None:
        self.most = most
        self._memory = memory
        self._numbers = numbers_in(memory)
        self._waiting = len(self._numbers) - 1

    @property
    def taken(self) -> int:
        """The sequences of all workers; without the lock one that moves meanwhile may count twice."""
        return sum(self._numbers[: self._waiting])

    def fits(self, size: int) -> bool:
        """Whether so many more have room."""
        return not self.most or self.taken + size <= self.most

    def take(self, size: int, place: int) -> bool:
        """Takes slots, also past requests that wait; False where there is no room."""
        with self._locked():
            return self._take(size, place)

    def take_unless_waiting(self, size: int, place: int) -> bool:
        """Takes slots; False where there is no room, and while a request waits."""
        with self._locked():
            return not self._numbers[self._waiting] and self._take(size, place)

    def give_back(self, size: int, place: int) -> bool:
        """Gives slots back; whether requests wait, who are to be told of it."""
        with self._locked():
            self._numbers[place] -= size
            return bool(self._numbers[self._waiting])

    def clear(self, place: int) -> None:
        """Gives back all slots of a worker that is gone."""
        with self._locked():
            self._numbers[place] = 0

    def announce(self, waiting: int) -> None:
        """Says how many requests wait. What was given back before it was said to nobody: look for room again."""
        with self._locked():
            self._numbers[self._waiting] = waiting

    def _take(self, size: int, place: int) -> bool:
        if not self.fits(size):
            return False
        self._numbers[place] += size
        return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._memory, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.lockf(self._memory, fcntl.LOCK_UN)
