"""When requests are sent: a plan that the load follows. Times in seconds from the start.

`Closed`: always so many at once, the next is sent when one has been answered. `Open`: at set times, whatever the
server does; that is how users come, and what shows a queue that grows.
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
    """A fixed number in flight."""

    concurrency: int

    def __str__(self) -> str:
        return f"{self.concurrency} at a time"


@dataclass(frozen=True)
class Open:
    """At set times: `offsets` may be endless."""

    offsets: Iterator[float]
    name: str

    def __str__(self) -> str:
        return self.name


Arrivals = Closed | Open


def all_at_once() -> Open:
    return Open(repeat(0.0), "all at once")


def constant_rate(per_second: float) -> Open:
    return Open(accumulate(repeat(1 / per_second), initial=0.0), f"{per_second:g} a second, evenly")


def poisson_rate(per_second: float, seed: int) -> Open:
    """Independent users: exponential times between arrivals."""
    chance = random.Random(seed)
    gaps = iter(lambda: chance.expovariate(per_second), None)
    return Open(accumulate(gaps, initial=0.0), f"{per_second:g} a second, Poisson")


def trace(offsets: Sequence[float], name: str) -> Open:
    return Open(iter(offsets), f"as in {name}")


def read_trace(file: Path) -> list[float]:
    """Timestamps of a file, from the first one on: one number a line, or JSON lines with `timestamp` (milliseconds).

    Plain numbers are seconds. Raises ConfigurationError naming the line at fault.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--trace {file}: cannot be read: {error}") from None
    times = [_timestamp(line, f"--trace {file}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not times:
        raise ConfigurationError(f"--trace {file}: holds no timestamps")
    if times != sorted(times):
        raise ConfigurationError(f"--trace {file}: timestamps must not go back")
    return [time - times[0] for time in times]


def _timestamp(line: str, place: str) -> float:
    try:
        value = json.loads(line)
        return float(value["timestamp"]) / 1e3 if isinstance(value, dict) else float(value)
    except (ValueError, KeyError, TypeError):
        raise ConfigurationError(f'{place}: expected seconds, or JSON with "timestamp" in milliseconds') from None
