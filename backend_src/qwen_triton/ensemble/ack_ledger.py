"""Whose caller has left, by what postprocessing has seen of an ensemble's answers. Knows no Triton and no sockets.

tritonserver 2.51 does not tell the engine's step that an ensemble's caller has left; it only makes no more
postprocessing steps for him. So a call is lost when a chunk of it ought to have come to postprocessing and has not.

The server queues a chunk for postprocessing while it is being sent, and hands chunks out in that order. A process that
has had a chunk which was sent later will therefore never get this one; neither will a process that has had nothing to do
for a second after it was queued. A chunk of which one of the two holds for every process of postprocessing is lost. A
long queue delays all chunks alike, so it loses none.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from threading import Lock

PATIENCE_NS = 1_000_000_000
"""How long a chunk must be under way at least before it can be lost."""
BEATS = 10
"""Reports of nothing to do, one after the other, that make a process idle: a second of its own time."""
CONFIRM = 3
"""Reports that each process still makes while a call is missing. The server is asked something in between, which it does
not answer while it is stopped: a chunk that it still has comes before they are made."""


@dataclass(slots=True)
class _Sent:
    begun_ns: int
    done_ns: int | None = None


@dataclass(slots=True)
class _Call:
    kind: Hashable
    unseen: deque[_Sent] = field(default_factory=deque)
    doubted_ns: int | None = None


@dataclass(slots=True)
class _Process:
    """What one process of postprocessing has reported."""

    newest_ns: int = 0
    reports: deque[int] = field(default_factory=lambda: deque(maxlen=CONFIRM))
    beats: deque[int] = field(default_factory=lambda: deque(maxlen=BEATS))

    def is_past(self, moment_ns: int) -> bool:
        """Whether it will get nothing more that was queued by then."""
        return self.newest_ns > moment_ns or (len(self.beats) == BEATS and self.beats[0] > moment_ns)

    def has_reported(self, since_ns: int) -> bool:
        """Whether it has gone on to report for a while since then."""
        return len(self.reports) == CONFIRM and self.reports[0] > since_ns


class Ledger:
    """Chunks sent and chunks seen, for every streamed call. Any thread may use it; times are monotonic nanoseconds.

    `kind` is what a caller's requests look like. Only of a kind that postprocessing has seen is anything lost: others
    come from callers of the engine model itself, whose chunks go elsewhere.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: dict[int, _Call] = {}
        self._first = self._next = secrets.randbelow(1 << 30)
        self._kinds: set[Hashable] = set()
        self._processes: dict[Hashable, _Process] = {}

    def begin(self, kind: Hashable) -> int:
        """A call's number; it is not the number of an earlier call, nor of one before a restart."""
        with self._lock:
            self._next += 1
            self._calls[self._next] = _Call(kind)
            return self._next

    def end(self, call: int) -> None:
        with self._lock:
            self._calls.pop(call, None)

    def sending(self, call: int, now_ns: int) -> None:
        """A chunk that leads to a postprocessing step is about to be sent."""
        with self._lock:
            if state := self._calls.get(call):
                state.unseen.append(_Sent(now_ns))

    def sent(self, call: int, now_ns: int) -> None:
        """The call's chunks have been sent: the server has queued them."""
        with self._lock:
            state = self._calls.get(call)
            for chunk in reversed(state.unseen if state else ()):
                if chunk.done_ns is not None:
                    break
                chunk.done_ns = now_ns

    def heard(self, process: Hashable, at_ns: int, receipts: Sequence[tuple[int, int]]) -> None:
        """A process reports: (call, begun_ns) of the latest chunks it has had; none = nothing to do, at that moment."""
        with self._lock:
            state = self._processes.setdefault(process, _Process())
            state.reports.append(at_ns)
            if not receipts:
                state.beats.append(at_ns)
                return
            state.beats.clear()
            for call, begun_ns in receipts:
                if self._first < call <= self._next and begun_ns <= at_ns:
                    state.newest_ns = max(state.newest_ns, begun_ns)
                    self._see(call, begun_ns)

    def departed(self, process: Hashable) -> None:
        with self._lock:
            self._processes.pop(process, None)

    def lost(self, call: int, now_ns: int) -> bool:
        """Whether the caller has left. Ask it again and again; the first answers of a loss are still no."""
        with self._lock:
            state = self._calls.get(call)
            if state is None:
                return False
            if not self._is_missing(state, now_ns):
                state.doubted_ns = None
                return False
            if state.doubted_ns is None:
                state.doubted_ns = now_ns
            return all(process.has_reported(state.doubted_ns) for process in self._processes.values())

    def _see(self, number: int, begun_ns: int) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        self._kinds.add(call.kind)
        while call.unseen and call.unseen[0].begun_ns <= begun_ns:
            call.unseen.popleft()

    def _is_missing(self, call: _Call, now_ns: int) -> bool:
        done_ns = call.unseen[0].done_ns if call.unseen else None
        if done_ns is None or now_ns - done_ns < PATIENCE_NS or call.kind not in self._kinds:
            return False
        return bool(self._processes) and all(process.is_past(done_ns) for process in self._processes.values())
