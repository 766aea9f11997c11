"""Arrival times of requests, in seconds since the start of a run.

`Closed` loop: a fixed number in flight; each answer sends the next request. `Open` loop: at set times, however slow the
server is; that models independent users and shows a growing queue.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, repeat
from pathlib import Path

from qwen_triton.errors import ConfigurationError


@dataclass(frozen=True)
class Closed:
    """A fixed number of requests in flight."""

    concurrency: int

    def __str__(self) -> str:
        return f"{self.concurrency} at a time"


@dataclass(frozen=True)
class Open:
    """Requests at set times. `offsets` are ascending seconds and may be endless; `name` is for output.

    `most`: with so many in flight the next one waits for an answer, as for a client's connections; None = for nothing.
    """

    offsets: Iterator[float]
    name: str
    most: int | None = None

    def __str__(self) -> str:
        return self.name if self.most is None else f"{self.name}, at most {self.most} in flight"


Arrivals = Closed | Open


def all_at_once() -> Open:
    return Open(repeat(0.0), "all at once")


def constant_rate(per_second: float) -> Open:
    return Open(accumulate(repeat(1 / per_second), initial=0.0), f"{per_second:g} a second, evenly")


def poisson_rate(per_second: float, seed: int) -> Open:
    """Arrivals of independent users: exponentially distributed gaps, the same for the same seed."""
    chance = random.Random(seed)
    gaps = iter(lambda: chance.expovariate(per_second), None)
    return Open(accumulate(gaps, initial=0.0), f"{per_second:g} a second, Poisson")


def trace(offsets: Sequence[float], name: str) -> Open:
    return Open(iter(offsets), f"as in {name}")


def read_trace(file: Path) -> list[float]:
    """Arrival times of a file, in seconds since its first one: a line has seconds, or JSON with `timestamp` in milliseconds.

    Raises ConfigurationError naming the line at fault.
    """
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--trace {file}: cannot be read: {error}") from None
    times = [_timestamp(line, f"--trace {file}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not times:
        raise ConfigurationError(f"--trace {file}: holds no timestamps")
    if times != sorted(times):
        raise ConfigurationError(f"--trace {file}: timestamps must not go back")
    return [time - times[0] for time in times]


def _timestamp(line: str, location: str) -> float:
    try:
        value = json.loads(line)
        return float(value["timestamp"]) / 1e3 if isinstance(value, dict) else float(value)
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f'{location}: expected seconds, or JSON with "timestamp" in milliseconds') from None
