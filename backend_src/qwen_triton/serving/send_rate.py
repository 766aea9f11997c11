"""Limits the responses sent per second: many while processors are idle, fewer and larger ones when none is.

The server queues every response without a bound, so sending never waits for a slow client. On a machine without an idle
processor the senders would outrun those who receive (server, shim, client), and that queue would grow for as long as
the load lasts. Sending fewer responses leaves processor time to the receivers. Knows nothing of requests.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

_MIN_PER_CPU, _MAX_PER_CPU = 1500, 2800
"""Responses per second and processor: 500 streams on 2 processors then have one every 167 ms or every 89 ms each."""
ENSEMBLE_MIN_PER_CPU = 600
"""In place of the first one for the engine of an ensemble, where postprocessing passes each response on: it costs twice as
much. 500 streams through the ensemble on 2 busy processors: 24,900 tokens/s with 600, 18,400 with 1,500."""
_MAX_PER_S = 12_000
"""Responses per second on any number of processors: 500 streams then have one every 42 ms, 64 streams one every 5 ms. More of
them cost processor time that no reader notices (docs/performance.md has the curve)."""
_PAST_SERVER = 0.7
"""What a response that does not go through the server takes of the budget, where processors bound it. Measured: a third, with
the shim's part. More responses than these delay the requests of those who wait for a first one: 500 at once on 2 cores, TTFT
167 to 210 ms and gaps of 63, with 0.5 202 to 261 ms and 45 (`qwen-triton bench overhead --via openai`)."""
_IDLE, _BUSY = 0.20, 0.12
"""Idle share of all processors above which the rate rises, and below which it falls."""
_STEP = 1.1
_ADAPT_S = 0.2
_STAT = Path("/proc/stat")


class Processors(Protocol):
    """Idle time of a machine's processors."""

    count: int

    def times(self) -> tuple[int, int]:
        """(idle, all) of all processors since the start, in clock ticks."""


class LinuxProcessors:
    """Idle time of the whole machine, from /proc/stat; `count`: processors that this process may use."""

    def __init__(self) -> None:
        self.count = len(os.sched_getaffinity(0))

    def times(self) -> tuple[int, int]:
        ticks = [int(field) for field in _STAT.read_bytes().split(b"\n", 1)[0].split()[1:9]]
        return ticks[3] + ticks[4], sum(ticks)


class SendRate:
    """`per_s`: responses per second of all senders together, adapted to the machine's idle time. `past_server`: as how many
    one counts that does not go through the server.

    `most_per_s`: the most of all processes that send, 0 = 2,800 for each processor, 12,000 at most. `processes`: how many
    these are. `least_per_cpu`: where no processor is idle.
    """

    def __init__(
        self,
        processors: Processors | None = None,
        most_per_s: int = 0,
        processes: int = 1,
        least_per_cpu: int = _MIN_PER_CPU,
    ) -> None:
        self._processors = processors or LinuxProcessors()
        by_processors = _MAX_PER_CPU * self._processors.count
        self._most = float(most_per_s or min(_MAX_PER_S, by_processors)) / processes
        self.past_server = 1.0 if most_per_s else min(1.0, max(_PAST_SERVER, by_processors / _MAX_PER_S))
        self._least = min(self._most, float(least_per_cpu * self._processors.count) / processes)
        self.per_s = self._most
        self._idle, self._all = self._processors.times()
        self._next = 0.0

    def adapt(self, now: float | None = None) -> None:
        """Adapts the rate, at most five times a second. `now`: seconds of time.monotonic()."""
        now = time.monotonic() if now is None else now
        if now < self._next:
            return
        self._next = now + _ADAPT_S
        idle, all_ = self._processors.times()
        share = (idle - self._idle) / max(1, all_ - self._all)
        self._idle, self._all = idle, all_
        if share < _BUSY:
            self.per_s = max(self._least, self.per_s / _STEP)
        elif share > _IDLE:
            self.per_s = min(self._most, self.per_s * _STEP)


class SendBudget:
    """One sender's share of the rate: a token bucket of 32 responses. `share()`: from 0 to 1, never 0 itself."""

    _SIZE = 32.0
    _LEAST, _MOST, _GROUP_S = 4.0, 16.0, 0.01
    """Responses to wait for once the bucket is empty, as many as come in 10 ms: a sender that wakes for each of them spends
    more on waking than on sending."""

    def __init__(self, rate: SendRate, share: Callable[[], float]) -> None:
        self._rate = rate
        self._share = share
        self._left = self._SIZE
        self._refilled = time.monotonic()

    def spend(self, *, through_server: bool) -> bool:
        """Takes a response from the budget; False when it is used up."""
        if self._left < 1.0:
            self._refill()
            if self._left < 1.0:
                return False
        self._left -= 1.0 if through_server else self._rate.past_server
        return True

    def wait_s(self) -> float:
        """Seconds until responses may be sent: 0 now, else until there is budget for a few."""
        if self._left >= 1.0:
            return 0.0
        per_s = self._refill()
        if self._left >= 1.0:
            return 0.0
        return (min(self._MOST, max(self._LEAST, per_s * self._GROUP_S)) - self._left) / per_s

    def _refill(self) -> float:
        """Adds what has come since the last time; returns how much comes in a second."""
        now, per_s = time.monotonic(), self._rate.per_s * self._share()
        self._left = min(self._SIZE, self._left + (now - self._refilled) * per_s)
        self._refilled = now
        return per_s
