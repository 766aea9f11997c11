"""Figures of a run, computed from its raw samples. Times are in seconds.

Percentiles interpolate linearly between the two nearest samples (numpy's default). Rates are over the whole run, from
the first request to the last answer's end. Failed requests count as errors and in no other figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from .samples import Run, Sample

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Spread:
    """Distribution of values: mean, standard deviation, extremes, percentiles. All 0 without values (`count` 0)."""

    count: int
    mean: float
    deviation: float
    least: float
    most: float
    percentiles: dict[int, float]

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        array = np.fromiter(values, dtype=np.float64)
        if not array.size:
            return cls(0, 0.0, 0.0, 0.0, 0.0, dict.fromkeys(PERCENTILES, 0.0))
        found = np.percentile(array, PERCENTILES).tolist()
        percentiles = dict(zip(PERCENTILES, found, strict=True))
        return cls(
            array.size, float(array.mean()), float(array.std()), float(array.min()), float(array.max()), percentiles
        )


@dataclass(frozen=True)
class InFlight:
    """Requests in flight: the average over the run's time, and the greatest number at any moment."""

    mean: float
    most: int


@dataclass(frozen=True)
class GoodputLimits:
    """Limits of a good answer, in seconds; None = no limit."""

    first_token: float | None = None
    time_per_output_token: float | None = None
    latency: float | None = None

    def __bool__(self) -> bool:
        return any(v is not None for v in (self.first_token, self.time_per_output_token, self.latency))

    def kept(self, sample: Sample) -> bool:
        """Whether an answered request kept all limits. One without such a time (of a single piece) keeps that limit."""
        pairs = (
            (sample.first_token, self.first_token),
            (sample.time_per_output_token, self.time_per_output_token),
            (sample.latency, self.latency),
        )
        return all(limit is None or value is None or value <= limit for value, limit in pairs)


@dataclass(frozen=True)
class Goodput:
    """Answers that kept the limits: their share of all requests (failed ones included), and their number per second."""

    share: float
    per_second: float


@dataclass(frozen=True)
class Figures:
    """All figures of a run. Token counts are the server's."""

    seconds: float
    sent: int
    answered: int
    unfinished: int
    errors: dict[str, int]
    finish_reasons: dict[str, int]
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    responses: int
    latency: Spread
    latencies_sum: float
    first_token: Spread
    gaps: Spread
    time_per_output_token: Spread
    in_flight: InFlight
    goodput: Goodput | None
    client_cpu_s: float

    @property
    def requests_per_second(self) -> float:
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def output_tokens_per_second(self) -> float:
        return self.output_tokens / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_response(self) -> float:
        return self.output_tokens / self.responses if self.responses else 0.0


def figures(run: Run, limits: GoodputLimits | None = None) -> Figures:
    """Computes all figures; goodput only with limits."""
    answered = [s for s in run.samples if s.answered]
    limits = limits or GoodputLimits()
    return Figures(
        seconds=run.seconds,
        sent=len(run.samples),
        answered=len(answered),
        unfinished=sum(s.ended is None for s in run.samples),
        errors=dict(Counter(s.error for s in run.samples if s.error).most_common()),
        finish_reasons=dict(Counter(s.finish_reason or "not said" for s in answered).most_common()),
        input_tokens=sum(s.input_tokens or 0 for s in answered),
        output_tokens=sum(s.output_tokens or 0 for s in answered),
        cached_tokens=sum(s.cached_tokens or 0 for s in answered),
        responses=sum(len(s.times) for s in answered),
        latency=Spread.of(s.latency for s in answered),
        latencies_sum=sum(s.latency for s in answered),
        first_token=Spread.of(s.first_token for s in answered if s.first_token is not None),
        gaps=Spread.of(chain.from_iterable(s.gaps for s in answered)),
        time_per_output_token=Spread.of(
            s.time_per_output_token for s in answered if s.time_per_output_token is not None
        ),
        in_flight=in_flight(run),
        goodput=_goodput(run, answered, limits) if limits else None,
        client_cpu_s=run.client_cpu_s,
    )


def in_flight(run: Run) -> InFlight:
    """Computed from the samples. The average is the area under the number of open requests over the run's time."""
    ends = [(min(s.ended, run.ended) if s.ended is not None else run.ended) for s in run.samples]
    area = sum(end - s.sent for end, s in zip(ends, run.samples, strict=True))
    steps = sorted([(s.sent, 1) for s in run.samples] + [(end, -1) for end in ends])
    most = int(np.cumsum([step for _, step in steps]).max()) if steps else 0
    return InFlight(area / run.seconds if run.seconds else 0.0, most)


def _goodput(run: Run, answered: Sequence[Sample], limits: GoodputLimits) -> Goodput:
    good = sum(limits.kept(s) for s in answered)
    return Goodput(good / len(run.samples) if run.samples else 0.0, good / run.seconds if run.seconds else 0.0)
