"""A lane of the line: calls that one thread feeds and answers, and what waits for that thread.

Sending a response is a round trip to the server, most of it waiting; with several lanes others send meanwhile. A call
stays in its lane, so its responses keep their order and it needs no locks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from .engines.backlog import Backlog, Extras
from .types import TokenChunk

_TURN = 16
"""Pieces sent in one turn: some milliseconds at most."""

_Call = TypeVar("_Call")
_log = logging.getLogger(__name__)


class Lane(Generic[_Call]):
    """Any thread may give chunks and post actions; the lane's own thread takes its turns. `deliver` is the line's."""

    def __init__(self, deliver: Callable[[int, TokenChunk], None]) -> None:
        self.calls: set[_Call] = set()
        self._deliver = deliver
        self._arrived: deque[tuple[int, list[int], Extras | None]] = deque()
        self._backlog = Backlog()
        self._posted: deque[Callable[[], None]] = deque()
        self._asleep = False
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._stopping = False

    @property
    def busy(self) -> bool:
        """Whether there is something to do in a turn."""
        return bool(self._arrived or self._backlog or self._posted)

    def give(self, key: int, token_ids: list[int], extras: Extras | None) -> None:
        """Takes a chunk of one of the lane's calls."""
        self._arrived.append((key, token_ids, extras))
        self._wake()

    def post(self, action: Callable[[], None]) -> None:
        """Takes something that is to run on the lane's thread."""
        self._posted.append(action)
        self._wake()

    def turn(self) -> None:
        """Runs what was posted and sends the oldest pieces, each with all that has arrived for it by then."""
        while self._posted:
            self._act(self._posted.popleft())
        for _ in range(_TURN):
            self._collect()
            if not self._backlog:
                break
            self._deliver(*self._backlog.pop())

    def run(self) -> None:
        """Takes turns until stopped; sleeps when there is nothing to do."""
        while not self._stopping:
            if self.busy:
                self.turn()
            else:
                self._sleep()

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping = True
        self._wakes.put(None)

    def _collect(self) -> None:
        arrived, add = self._arrived, self._backlog.add
        while arrived:
            add(*arrived.popleft())

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            self._wakes.put(None)

    def _sleep(self) -> None:
        """Who gives first sees the lane asleep, or the lane sees what was given: one of the two at least."""
        self._asleep = True
        if not (self.busy or self._stopping):
            self._wakes.get()
        self._asleep = False

    def _act(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # whatever became of one caller, the others go on
            _log.exception("a caller could not be answered")
