"""Progress bar of a load on a terminal. Prints nothing where standard error is a file."""

from __future__ import annotations

import sys

from .load import LoadProgress

_WIDTH = 30


class ProgressBar:
    """Redraws one line on standard error, at most five times a second."""

    def __init__(self) -> None:
        self._on = sys.stderr.isatty()
        self._drawn = 0.0

    def __call__(self, progress: LoadProgress) -> None:
        if not self._on or progress.seconds - self._drawn < 0.2:
            return
        self._drawn = progress.seconds
        full = min(_WIDTH, _WIDTH * progress.ended // max(1, progress.total))
        bar = "█" * full + "·" * (_WIDTH - full)
        line = f"\r{bar} {progress.ended}/{progress.total} answered, {progress.sent} sent, {progress.seconds:.0f} s "
        print(line, end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._on:
            print("\r" + " " * (_WIDTH + 60) + "\r", end="", file=sys.stderr, flush=True)
