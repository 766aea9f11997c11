"""What an engine must be able to do inside its own process: take requests, advance all of them one step, let go.

The process loop (`server.py`) owns the sockets and calls `step()`; an engine knows nothing of clients, text or Triton.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ..types import EngineRequest, TokenChunk

Key = int
"""Names one sequence for as long as the engine's process lives; never used twice."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Facts about a loaded engine that a request is checked against. Lengths in tokens."""

    name: str
    max_context: int
    vocab_size: int


@dataclass(slots=True)
class Counters:
    """Totals and current states since the engine was loaded, for metrics and tests.

    `queue_s`: seconds that the `started` sequences waited for their slot, all together.
    """

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    tokens: int = 0
    steps: int = 0
    running: int = 0
    waiting: int = 0
    started: int = 0
    queue_s: float = 0.0
    extra: dict[str, float] = field(default_factory=dict)


class Queue:
    """When sequences arrived, so that `counters` can say how long they waited."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._arrived: dict[Key, float] = {}

    def arrive(self, key: Key) -> None:
        self._arrived[key] = time.monotonic()
        self._counters.requests += 1

    def start(self, key: Key) -> None:
        """The sequence has its slot."""
        self._counters.started += 1
        self._counters.queue_s += time.monotonic() - self._arrived.pop(key)

    def leave(self, key: Key) -> None:
        """The sequence was let go while it waited."""
        self._arrived.pop(key, None)


class StepEngine(Protocol):
    """An engine that is advanced from outside, step by step, by a single thread."""

    info: EngineInfo
    counters: Counters

    def add(self, key: Key, request: EngineRequest) -> None:
        """Takes a sequence. Raises InvalidRequest for what it does not honour; nothing is left behind then."""

    def cancel(self, key: Key) -> None:
        """Lets go of a sequence at once, whatever its state; an unknown key is ignored. No chunk follows."""

    def waits(self, key: Key) -> bool:
        """Whether a sequence has no slot yet."""

    def wait_s(self) -> float | None:
        """Seconds until `step()` has something to do: 0 now, None not before the next `add`."""

    def step(self) -> Sequence[tuple[Key, TokenChunk]]:
        """Advances everything by one token and returns what each sequence gained, errors included. Never raises."""

    def close(self) -> None:
        """Gives memory and threads back."""
