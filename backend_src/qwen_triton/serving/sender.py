"""A sender of the line: calls that one thread feeds and answers, and what waits for that thread.

Sending a response is a round trip to the server, most of it waiting; with several senders others send meanwhile. A call
stays in its sender, so its responses keep their order and it needs no locks.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from ..types import TokenChunk
from .pending import Extras, PendingChunks
from .send_rate import SendBudget

_BATCH = 16
"""Pieces made and sent in one turn: some milliseconds at most."""

_Call = TypeVar("_Call")
_log = logging.getLogger(__name__)


class Sender(Generic[_Call]):
    """Any thread may give chunks and post actions; the sender's own thread takes its turns.

    `feed` gives a call its chunk and returns the call, unless nobody wants the chunk; `flush` sends what the call wrote.
    """

    def __init__(
        self, feed: Callable[[int, TokenChunk], _Call | None], flush: Callable[[_Call], None], budget: SendBudget
    ) -> None:
        self.calls: set[_Call] = set()
        self._feed = feed
        self._flush = flush
        self._budget = budget
        self._arrived: deque[tuple[PendingChunks, int, list[int], Extras | None]] = deque()
        self._openings, self._waiting = PendingChunks(), PendingChunks()
        self._posted: deque[Callable[[], None]] = deque()
        self._asleep = False
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._stopping = False

    def wait_s(self) -> float | None:
        """Seconds until there is something to do in a turn: 0 now, None not before something arrives."""
        if self._posted:
            return 0.0
        return self._budget.wait_s() if self._arrived or self._openings or self._waiting else None

    def add_chunk(self, key: int, token_ids: list[int], extras: Extras | None, begun: bool = True) -> None:
        """Takes a chunk of one of the sender's calls; one that has not `begun` to be answered goes before all others."""
        self._arrived.append((self._waiting if begun else self._openings, key, token_ids, extras))
        self._wake()

    def post(self, action: Callable[[], None]) -> None:
        """Takes something that is to run on the sender's thread."""
        self._posted.append(action)
        self._wake()

    def send_batch(self) -> None:
        """Runs what was posted, then makes pieces: first words first, then the oldest, with all that has come for it.

        All are sent when all are made: code that runs again and again at once is several times as fast as code that
        takes turns with the server's.
        """
        self.act()
        fed = []
        for _ in range(_BATCH):
            self._collect()
            pending = self._openings or self._waiting
            if not (pending and self._budget.take()):
                break
            fed.append(self._feed(*pending.pop()))
        for call in fed:
            if call is not None:
                self._flush(call)

    def act(self) -> None:
        """Runs what was posted."""
        while self._posted:
            self._run_posted(self._posted.popleft())

    def run(self) -> None:
        """Takes turns until stopped; sleeps when there is nothing to do."""
        while not self._stopping:
            wait_s = self.wait_s()
            if wait_s is None:
                self._sleep()
            elif wait_s:
                time.sleep(wait_s)
            else:
                self.send_batch()

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping = True
        self._wakes.put(None)

    def _collect(self) -> None:
        arrived = self._arrived
        while arrived:
            pending, key, token_ids, extras = arrived.popleft()
            pending.add(key, token_ids, extras)

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            self._wakes.put(None)

    def _sleep(self) -> None:
        """Who gives first sees the sender asleep, or the sender sees what was given: one of the two at least."""
        self._asleep = True
        if self.wait_s() is None and not self._stopping:
            self._wakes.get()
        self._asleep = False

    def _run_posted(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # whatever became of one caller, the others go on
            _log.exception("a caller could not be answered")
