"""Request metrics of one model: how requests ended, their tokens and times. Any thread adds, metrics.py reads them.

Kept in the process, because an increment of one of Triton's own metrics is a round trip to the server. Knows no Triton.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections import Counter

from ..errors import Cancelled, InvalidRequest, Unavailable
from ..types import TextChunk

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


class LatencyHistogram:
    """Observed seconds. `counts[i]`: those above SECONDS[i - 1] and up to SECONDS[i], the last those above all bounds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float, times: int = 1) -> None:
        """Counts `times` observations of `seconds` each."""
        self.counts[bisect_left(SECONDS, seconds)] += times
        self.total += seconds * times


class RequestMetrics:
    """Totals since the model was loaded. `finished`: sequences by finish reason, failed requests by kind of error.

    `submitted`: requests that reached the engine, `prompt_seconds`: what they took for that from their arrival.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.finished: Counter[str] = Counter()
        self.prompt_tokens = 0
        self.output_tokens = 0
        self.time_to_first_token = LatencyHistogram()
        self.inter_token_latency = LatencyHistogram()
        self.end_to_end = LatencyHistogram()
        self.submitted = 0
        self.prompt_seconds = 0.0

    def start(self) -> RequestTimer:
        """A timer for a request that arrives now."""
        return RequestTimer(self)


class RequestTimer:
    """Times one request and adds to its model's metrics. Used by one thread at a time."""

    __slots__ = ("_last", "_metrics", "_started")

    def __init__(self, metrics: RequestMetrics) -> None:
        self._metrics = metrics
        self._started = time.monotonic()
        self._last = 0.0

    def submitted(self) -> None:
        """Counts that the request has reached the engine, now."""
        now, metrics = time.monotonic(), self._metrics
        with metrics.lock:
            metrics.submitted += 1
            metrics.prompt_seconds += now - self._started

    def tokens(self, count: int) -> None:
        """Counts a response of `count` tokens, made now."""
        now, metrics = time.monotonic(), self._metrics
        with metrics.lock:
            if not self._last:
                metrics.time_to_first_token.observe(now - self._started)
            elif count:
                metrics.inter_token_latency.observe((now - self._last) / count, count)
        self._last = now

    def finished(self, piece: TextChunk) -> None:
        """Counts the end of a sequence; `piece` is its last chunk."""
        metrics = self._metrics
        with metrics.lock:
            metrics.finished[piece.finish or "stop"] += 1
            metrics.end_to_end.observe(time.monotonic() - self._started)
            if piece.usage is not None:
                metrics.output_tokens += piece.usage.completion_tokens
                metrics.prompt_tokens += piece.usage.prompt_tokens

    def failed(self, error: Exception) -> None:
        """Counts a request that ended with `error`."""
        kinds = ((Cancelled, "cancelled"), (InvalidRequest, "invalid"), (Unavailable, "unavailable"))
        name = next((name for kind, name in kinds if isinstance(error, kind)), "error")
        with self._metrics.lock:
            self._metrics.finished[name] += 1
