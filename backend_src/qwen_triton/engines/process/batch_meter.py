"""Meter of how full an engine's batch is: the sequences of a step, and how long a place in it stays empty between two of them.

With callers who ask again as soon as they are answered, every step should have as many sequences as there are callers.
Where it has fewer, the places stand empty from a sequence's end to its successor's first token: the last response goes to
the caller, and a new request comes back. Knows no engine and no clients.
"""

from __future__ import annotations

from collections import deque

from ..engine import Key

LATE_S = 2.0
"""Seconds after which a place has no successor: it was empty because nobody asked."""


class BatchMeter:
    """Totals since the engine was loaded. Times are of one monotonic clock, in seconds.

    `sequences`: those that got tokens, over all steps. `successors`: sequences that began in a place which another one had
    left, and `successor_s` the seconds from its end to their first token, all together. `new`: those without a token yet.
    """

    def __init__(self) -> None:
        self.sequences = 0
        self.successors = 0
        self.successor_s = 0.0
        self.new: set[Key] = set()
        self._ended: deque[float] = deque()

    def counters(self) -> dict[str, float]:
        """The totals by name, as they are sent with the engine's own."""
        return {"batched": self.sequences, "successors": self.successors, "successor_s": self.successor_s}

    def add(self, key: Key) -> None:
        """A sequence was given to the engine."""
        self.new.add(key)

    def advance(self, sequences: int) -> None:
        """A step gave tokens to so many sequences."""
        self.sequences += sequences

    def begins(self, key: Key, now: float) -> None:
        """A sequence got tokens; its first ones if it is new. The place that has been empty longest becomes its own."""
        if key not in self.new:
            return
        self.new.discard(key)
        while self._ended and now - self._ended[0] > LATE_S:
            self._ended.popleft()
        if self._ended:
            self.successors += 1
            self.successor_s += now - self._ended.popleft()

    def end(self, key: Key, now: float) -> None:
        """A sequence has ended or was cancelled; one that never began leaves no place."""
        if key in self.new:
            self.new.discard(key)
        else:
            self._ended.append(now)
