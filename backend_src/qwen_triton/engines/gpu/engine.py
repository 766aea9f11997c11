"""Base of the engines whose library steps by itself: sequences by key, and what a StepEngine does with them everywhere.

The library knows a sequence by its key as text. Knows no library.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from ...types import TokenChunk
from ..engine import Counters, Key


class LiveSequence(Protocol):
    """What an engine keeps of a sequence; `begun`: its first output has come."""

    begun: bool


class LibraryCore(Protocol):
    """The library, as far as the base needs it."""

    def cancel(self, name: str) -> None:
        """Ends a sequence; outputs that are under way may still come."""

    def close(self) -> None:
        """Ends the library's processes."""


_Live = TypeVar("_Live", bound=LiveSequence)
_Core = TypeVar("_Core", bound=LibraryCore)


class SelfSteppingEngine(Generic[_Core, _Live]):
    """A StepEngine but for `info`, `add` and `step`, which are its subclass's."""

    def __init__(self, core: _Core) -> None:
        self._core = core
        self.counters = Counters()
        self._live: dict[Key, _Live] = {}

    def cancel(self, key: Key) -> None:
        if self._live.pop(key, None) is None:
            return
        self.counters.cancelled += 1
        self._forget_states()
        self._core.cancel(str(key))

    def waits(self, key: Key) -> bool:
        """Whether a sequence has had no token yet: a library does not say sooner that it has a slot."""
        live = self._live.get(key)
        return live is not None and not live.begun

    def wait_s(self) -> float | None:
        return 0.0 if self._live else None

    def close(self) -> None:
        self._core.close()

    def _keep(self, key: Key, live: _Live) -> None:
        """Counts a sequence that the library has taken."""
        self._live[key] = live
        self.counters.requests += 1

    def _hand_on(self, key: Key, chunk: TokenChunk, chunks: list[tuple[Key, TokenChunk]]) -> None:
        """Adds a chunk to those of a step; the last one of a sequence ends it."""
        if chunk.finish is not None:
            del self._live[key]
            self.counters.finished += 1
        chunks.append((key, chunk))

    def _forget_states(self) -> None:
        """An idle library makes no steps, so the statistics of its last step would stand for ever."""
        if not self._live:
            self.counters.running = self.counters.waiting = 0
