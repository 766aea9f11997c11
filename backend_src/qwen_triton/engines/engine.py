"""The protocol of a Python engine inside its own process: add sequences, advance all of them one step, cancel.

The process loop (`process/server.py`) owns the sockets and calls `step()`; an engine knows no clients, text or Triton.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ..types import EngineRequest, TokenChunk

Key = int
"""Names one sequence for as long as the engine's process lives; never used twice."""


FormKeeping = Literal["", "text", "marks", "play"]
"""Whether an engine keeps the grammar of a request, and how its vocabulary has tokens such as <tool_call>: not at all; as
their text; as a mark each (forms.marks); or it takes a grammar and does nothing with it, for tests."""


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Facts about a loaded engine that a request is checked against. Lengths in tokens.

    `honours`: parameters that it honours as it is loaded, beside those of its kind (capabilities.HONOURED). `adapters`: the
    names that a request's `lora_name` may have. `forms`: see FormKeeping. `seeds`: whether the seed of a request is honoured.
    """

    name: str
    max_context: int
    vocab_size: int
    honours: Sequence[str] = ()
    adapters: Sequence[str] = ()
    forms: FormKeeping = ""
    seeds: bool = True


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
    """Times how long sequences wait for a slot and adds it to `counters`."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._arrived: dict[Key, float] = {}

    def arrive(self, key: Key) -> None:
        """Counts a sequence that the engine has taken."""
        self._arrived[key] = time.monotonic()
        self._counters.requests += 1

    def start(self, key: Key) -> None:
        """Counts the wait of a sequence that gets its slot."""
        self._counters.started += 1
        self._counters.queue_s += time.monotonic() - self._arrived.pop(key)

    def leave(self, key: Key) -> None:
        """Forgets a sequence that was cancelled while it waited."""
        self._arrived.pop(key, None)


class StepEngine(Protocol):
    """An engine that is advanced from outside, step by step, by a single thread."""

    info: EngineInfo
    counters: Counters

    def add(self, key: Key, request: EngineRequest) -> None:
        """Adds a sequence. Raises InvalidRequest for what the engine does not support, and has not added it then."""

    def cancel(self, key: Key) -> None:
        """Ends a sequence at once, whatever its state; no chunk follows. Ignores an unknown key."""

    def waits(self, key: Key) -> bool:
        """Whether a sequence has no slot yet."""

    def wait_s(self) -> float | None:
        """Seconds until `step()` has something to do: 0 now, None not before the next `add`."""

    def step(self) -> Sequence[tuple[Key, TokenChunk]]:
        """Advances all running sequences and returns the new chunk of each, an error as finish «error». Never raises."""

    def close(self) -> None:
        """Frees memory and threads."""
