"""Lines of charts, computed from raw samples. Samples have seconds; durations in charts are milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from .chart import Point

_POINTS = 200
_BUCKETS = 60

Samples = Sequence[dict[str, Any]]
"""Samples of a result file (see results)."""


def distribution(seconds: Sequence[float]) -> list[Point]:
    """Cumulative distribution: (milliseconds, percent of the values that are at most this), from 0 to 100 %."""
    if not seconds:
        return []
    shares = np.linspace(0, 100, min(_POINTS, max(2, len(seconds))))
    return [(1e3 * float(v), float(s)) for v, s in zip(np.percentile(seconds, shares), shares, strict=True)]


def first_token_times(samples: Samples) -> list[float]:
    return [s["times"][0] - s["sent"] for s in samples if s["times"] and not s["error"]]


def gap_times(samples: Samples) -> list[float]:
    return [b - a for s in samples if not s["error"] for a, b in pairwise(s["times"])]


def tokens_over_time(samples: Samples) -> list[Point]:
    """(seconds, output tokens a second). An answer's tokens are divided among its responses by their size."""
    at: list[float] = []
    tokens: list[float] = []
    for s in samples:
        total = sum(s["sizes"])
        if not s["error"] and total and s["output_tokens"]:
            at += s["times"]
            tokens += [size * s["output_tokens"] / total for size in s["sizes"]]
    if not at:
        return []
    counts, edges = np.histogram(at, _BUCKETS, (0.0, max(at)), weights=tokens)
    width = float(edges[1] - edges[0]) or 1.0
    return [(float(edge + width / 2), float(count / width)) for edge, count in zip(edges, counts, strict=False)]


def in_flight_over_time(samples: Samples) -> list[Point]:
    """(seconds, requests in flight)."""
    ended = [s["ended"] for s in samples if s["ended"] is not None]
    if not ended:
        return []
    sent = np.sort([s["sent"] for s in samples])
    ends = np.sort(ended)
    times = np.linspace(0.0, float(ends[-1]), _POINTS)
    open_ = np.searchsorted(sent, times, "right") - np.searchsorted(ends, times, "right")
    return [(float(t), float(n)) for t, n in zip(times, open_, strict=True)]
