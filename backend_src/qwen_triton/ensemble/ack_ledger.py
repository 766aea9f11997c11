"""Detects ensemble clients that have disconnected, from acknowledgements of the postprocessing model.

tritonserver 2.51 does not tell the engine model that an ensemble's client has disconnected; it only runs no further
postprocessing steps for the request. So a request is abandoned when one of its chunks should have reached
postprocessing and has not.

The server queues a chunk for postprocessing while the chunk is being sent, and runs the queue in order. A process that
has acknowledged a chunk sent later will therefore never get this one; neither will a process that has been idle for a
second since this one was queued. A chunk for which one of the two holds in every postprocessing process is lost. A long
queue delays all chunks alike, so it makes none of them look lost.

Processes of one postprocessing model share a queue. Where a server has several such models, a request belongs to the
one that acknowledged its first chunk, and the others say nothing about it. The later chunk may be that of another
engine model, or of another load of this one: it went through the same queue.

Pure state: no Triton, no sockets.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from threading import Lock

MIN_UNACKED_NS = 1_000_000_000
"""How long a chunk must be unacknowledged before its request can be suspected."""
IDLE_REPORTS = 10
"""Consecutive reports without work that make a process idle: a second of its own time."""
CONFIRMING_REPORTS = 3
"""Reports every postprocessing process must still send before a suspected request counts as abandoned. Guards against a
paused server: the check for cancelled requests makes a round trip to the server in between, which a paused server does
not answer, so a chunk that the server still has is acknowledged before these reports are made."""


@dataclass(slots=True)
class _UnackedChunk:
    send_begun_ns: int
    sent_ns: int | None = None


_ANY: Hashable = object()
"""The model of a request of which no chunk has been acknowledged."""


@dataclass(slots=True)
class _TrackedRequest:
    kind: Hashable
    model: Hashable = _ANY
    unacked: deque[_UnackedChunk] = field(default_factory=deque)
    suspected_ns: int | None = None


@dataclass(slots=True)
class _Process:
    """What one process of the postprocessing model `model` has reported."""

    model: Hashable = None
    newest_acked_ns: int = 0
    reports: deque[int] = field(default_factory=lambda: deque(maxlen=CONFIRMING_REPORTS))
    idle_reports: deque[int] = field(default_factory=lambda: deque(maxlen=IDLE_REPORTS))

    def is_past(self, moment_ns: int) -> bool:
        """Whether it will get no chunk that was queued by then."""
        is_idle = len(self.idle_reports) == IDLE_REPORTS
        return self.newest_acked_ns > moment_ns or (is_idle and self.idle_reports[0] > moment_ns)

    def has_confirmed(self, since_ns: int) -> bool:
        """Whether it has sent enough reports since then."""
        return len(self.reports) == CONFIRMING_REPORTS and self.reports[0] > since_ns


class AckLedger:
    """Chunks sent and chunks acknowledged, for every streamed request. Thread-safe; times are monotonic nanoseconds.

    `kind` is the set of outputs that a request asks for. Only requests of a kind that postprocessing has acknowledged
    can be abandoned: others come from clients of the engine model itself, whose chunks go elsewhere.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._requests: dict[int, _TrackedRequest] = {}
        self._first = self._next = secrets.randbelow(1 << 30)
        self._acked_kinds: set[Hashable] = set()
        self._acked_models: set[Hashable] = set()
        self._processes: dict[Hashable, _Process] = {}

    def begin(self, kind: Hashable) -> int:
        """Tracks a request. The number is below 2**31, and not one of an earlier request or of before a restart."""
        with self._lock:
            self._next += 1
            self._requests[self._next] = _TrackedRequest(kind)
            return self._next

    def end(self, request_number: int) -> None:
        """Forgets a request that is answered, failed or abandoned."""
        with self._lock:
            self._requests.pop(request_number, None)

    def on_send(self, request_number: int, now_ns: int) -> None:
        """A chunk that leads to a postprocessing step is about to be sent."""
        with self._lock:
            if request := self._requests.get(request_number):
                request.unacked.append(_UnackedChunk(now_ns))

    def on_sent(self, request_number: int, now_ns: int) -> None:
        """The request's chunks have been sent: the server has queued them."""
        with self._lock:
            request = self._requests.get(request_number)
            for chunk in reversed(request.unacked if request else ()):
                if chunk.sent_ns is not None:
                    break
                chunk.sent_ns = now_ns

    def on_connect(self, process: Hashable, model: Hashable) -> None:
        """A process of the postprocessing model `model` is about to report."""
        with self._lock:
            self._processes[process] = _Process(model)

    def on_report(self, process: Hashable, at_ns: int, acks: Sequence[tuple[int, int]], newest_ns: int = 0) -> None:
        """A process reports (request number, send_begun_ns) of the latest chunks it got; no acks: it is idle.

        `newest_ns`: when its newest chunk of all engine models was begun, 0 where it had none.
        """
        with self._lock:
            state = self._processes.setdefault(process, _Process())
            state.reports.append(at_ns)
            if not acks:
                state.idle_reports.append(at_ns)
                return
            state.idle_reports.clear()
            if newest_ns <= at_ns:
                state.newest_acked_ns = max(state.newest_acked_ns, newest_ns)
            for request_number, begun_ns in acks:
                if self._first < request_number <= self._next and begun_ns <= at_ns:
                    state.newest_acked_ns = max(state.newest_acked_ns, begun_ns)
                    self._acknowledge(state.model, request_number, begun_ns)

    def on_disconnect(self, process: Hashable) -> None:
        """A process has ended, or its connection is lost."""
        with self._lock:
            self._processes.pop(process, None)

    def is_abandoned(self, request_number: int, now_ns: int) -> bool:
        """Whether the client has disconnected. Poll it: of an abandoned request the first results are still False."""
        with self._lock:
            request = self._requests.get(request_number)
            if request is None:
                return False
            if not self._has_lost_chunk(request, now_ns):
                request.suspected_ns = None
                return False
            if request.suspected_ns is None:
                request.suspected_ns = now_ns
            return all(process.has_confirmed(request.suspected_ns) for process in self._processes_for(request))

    def _processes_for(self, request: _TrackedRequest) -> list[_Process]:
        """Those that may get the request's chunks."""
        models = self._acked_models if request.model is _ANY else (request.model,)
        return [process for process in self._processes.values() if process.model in models]

    def _acknowledge(self, model: Hashable, request_number: int, begun_ns: int) -> None:
        self._acked_models.add(model)
        request = self._requests.get(request_number)
        if request is None:
            return
        request.model = model
        self._acked_kinds.add(request.kind)
        while request.unacked and request.unacked[0].send_begun_ns <= begun_ns:
            request.unacked.popleft()

    def _has_lost_chunk(self, request: _TrackedRequest, now_ns: int) -> bool:
        sent_ns = request.unacked[0].sent_ns if request.unacked else None
        if sent_ns is None or now_ns - sent_ns < MIN_UNACKED_NS or request.kind not in self._acked_kinds:
            return False
        processes = self._processes_for(request)
        return bool(processes) and all(process.is_past(sent_ns) for process in processes)
