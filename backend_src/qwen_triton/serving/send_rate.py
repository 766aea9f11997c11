"""How many pieces a second the line sends: many while processors idle, fewer and larger ones when none does.

What is sent waits nowhere for a slow receiver: the server takes every response and queues it. On a machine without a
free processor the senders would win over whoever receives (server, shim, client), and the queue between them would grow
for as long as the load lasts. So a line on a busy machine merges more, and what it saves goes to the receivers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Protocol

_LEAST, _MOST = 1500, 4000
"""Pieces a second for each processor: at 500 calls on two processors a gap of 167 ms or of 63 ms."""
_ENOUGH_IDLE, _TOO_LITTLE_IDLE = 0.10, 0.05
_STEP = 1.1
_ADAPT_S = 0.2
_STAT = Path("/proc/stat")


class Processors(Protocol):
    """What keeps the accounts of this machine's processors."""

    count: int

    def times(self) -> tuple[int, int]:
        """(idle, all) of all processors since the start, in clock ticks."""


class LinuxProcessors:
    """The kernel's accounts, of the whole machine; `count` are those that this process may use."""

    def __init__(self) -> None:
        self.count = len(os.sched_getaffinity(0))

    def times(self) -> tuple[int, int]:
        ticks = [int(field) for field in _STAT.read_bytes().split(b"\n", 1)[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)


class SendRate:
    """`per_s` pieces a second, all senders together; `adapt` moves it now and then."""

    def __init__(self, processors: Processors | None = None) -> None:
        self._processors = processors or LinuxProcessors()
        self._least, self._most = (float(n * self._processors.count) for n in (_LEAST, _MOST))
        self.per_s = self._most
        self._idle, self._all = self._processors.times()
        self._next = 0.0

    def adapt(self, now: float | None = None) -> None:
        """Call it as often as you like; it looks five times a second. `now`: seconds of time.monotonic()."""
        now = time.monotonic() if now is None else now
        if now < self._next:
            return
        self._next = now + _ADAPT_S
        idle, all_ = self._processors.times()
        share = (idle - self._idle) / max(1, all_ - self._all)
        self._idle, self._all = idle, all_
        if share < _TOO_LITTLE_IDLE:
            self.per_s = max(self._least, self.per_s / _STEP)
        elif share > _ENOUGH_IDLE:
            self.per_s = min(self._most, self.per_s * _STEP)


class SendBudget:
    """A sender's part of the rate: pieces that it may send now. What is not used is kept, but not much of it."""

    _KEPT = 32.0
    _GROUP = 4.0

    def __init__(self, rate: SendRate, senders: int) -> None:
        self._rate = rate
        self._senders = senders
        self._left = self._KEPT
        self._counted = time.monotonic()

    def spend(self) -> bool:
        """Whether one more piece may be sent; if so it counts."""
        self._count()
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def wait_s(self) -> float:
        """Seconds until there is something to send with: 0 now, else until a few pieces may go together."""
        self._count()
        return 0.0 if self._left >= 1.0 else (self._GROUP - self._left) * self._senders / self._rate.per_s

    def _count(self) -> None:
        now = time.monotonic()
        self._left = min(self._KEPT, self._left + (now - self._counted) * self._rate.per_s / self._senders)
        self._counted = now
