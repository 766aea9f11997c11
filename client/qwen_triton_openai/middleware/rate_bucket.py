"""A rate per minute that may be used in bursts of up to a minute's worth."""

from __future__ import annotations

import time
from collections.abc import Callable

_MINUTE_S = 60.0


class RateBucket:
    """Fills evenly, holds `per_minute` at the most. What was taken may exceed what was there; then it fills up from
    below nothing."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._per_s = per_minute / _MINUTE_S
        self._level = float(per_minute)
        self._clock = clock
        self._at = clock()

    def take(self, amount: float) -> None:
        self._fill()
        self._level -= amount

    @property
    def left(self) -> int:
        self._fill()
        return max(0, int(self._level))

    def wait_s(self) -> float:
        """Until one more may be taken; 0 = now."""
        self._fill()
        return max(0.0, (1 - self._level) / self._per_s)

    def reset_s(self) -> float:
        """Until the whole minute's worth is there again."""
        self._fill()
        return (self.per_minute - self._level) / self._per_s

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self._per_s)
        self._at = now
