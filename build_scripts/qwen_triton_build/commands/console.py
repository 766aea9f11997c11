"""Progress of a command on the terminal (stderr): phases with their seconds, and lines for the operator."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from ..launch.engine_progress import LoadFact, Stage


class Phases:
    """Prints the name of each phase when it begins and its seconds when it ends."""

    def __init__(self) -> None:
        self._started = self._phase_started = time.monotonic()
        self._open = False

    def begin(self, name: str) -> None:
        self.end()
        self._phase_started = time.monotonic()
        self._open = True
        print(f"{name:<44}", end="", flush=True, file=sys.stderr)

    def end(self) -> None:
        if self._open:
            print(f"{time.monotonic() - self._phase_started:6.1f} s", file=sys.stderr, flush=True)
        self._open = False

    def report(self, line: str) -> None:
        """A line of its own, for the operator."""
        self.end()
        print(f"qwen-triton: {line}", file=sys.stderr, flush=True)

    def total_s(self) -> float:
        return time.monotonic() - self._started


class ConsoleProgress:
    """Prints the stages of an engine that loads as phases, and every ten seconds what a launch waits for.

    `news()`: what the engine has said since the last call; `last_line()`: the newest line of the log, for an engine that
    says nothing.
    """

    _REPORT_EVERY_S = 10.0

    def __init__(
        self, phases: Phases, last_line: Callable[[], str], news: Callable[[], Sequence[Stage | LoadFact]] = tuple
    ) -> None:
        self._phases = phases
        self._last_line = last_line
        self._news = news
        self._stage: Stage | None = None
        self._reported_s = 0.0

    def waiting(self, names: Sequence[str], seconds: float) -> None:
        for item in self._news():
            self._show(item)
        if seconds < self._reported_s:
            self._reported_s = 0.0
        if seconds - self._reported_s >= self._REPORT_EVERY_S:
            self._reported_s = seconds
            self._phases.report(f"waiting for {' and '.join(names)} ({seconds:.0f} s) {self._doing()}".rstrip())

    def report(self, line: str) -> None:
        self._phases.report(line)

    def _show(self, item: Stage | LoadFact) -> None:
        if isinstance(item, LoadFact):
            self._phases.report(item.text)
            return
        if self._stage is None or item.name != self._stage.name:
            self._phases.begin(item.name)
        self._stage = item

    def _doing(self) -> str:
        if self._stage is None:
            return self._last_line()
        return self._stage.name + ("" if self._stage.percent is None else f", {self._stage.percent} %")
