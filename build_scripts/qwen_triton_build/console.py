"""What the commands say to a person: phases with their times, then the line that matters."""

from __future__ import annotations

import sys
import time


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

    def total_s(self) -> float:
        return time.monotonic() - self._started
