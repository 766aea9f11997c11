"""The line between models and engine: calls in, merged chunks out, one thread that drives all of it.

A call is one Triton request with its sequences. Any thread may admit a call; chunks come back to it from the driver's
thread only, in order, merged while they waited: an idle line hands every token on at once, a busy one larger pieces.
A second thread finds out which callers have left; the driver lets go of their calls.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from .callers import CallerWatch
from .engines.backlog import Backlog, Extras
from .engines.door import Door
from .engines.step import EngineInfo
from .errors import EngineError, InvalidRequest, QwenTritonError, Unavailable
from .types import EngineRequest, TokenChunk

_TURN = 16
"""Pieces sent between two looks at the engine's socket, each of which is a system call: some milliseconds at most."""

_log = logging.getLogger(__name__)


class Call(Protocol):
    """What the driver sees of a Triton request."""

    request_id: str

    def feed(self, index: int, chunk: TokenChunk) -> bool:
        """Takes what sequence `index` gained and sends what is due. True: the sequence needs no more tokens."""

    def fail(self, error: Exception) -> None:
        """Answers the caller with the error, finally."""

    def abandoned(self) -> bool:
        """Whether the caller has left (a round trip to the server)."""

    def close(self) -> None:
        """Ends the response of an abandoned call."""


class _Admitted:
    """A call under way: the engine keys of its sequences that still run."""

    __slots__ = ("call", "keys")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.keys: set[int] = set()


class Line:
    """Drives every call against one engine. `max_in_flight`: calls admitted at once, more are refused as Unavailable."""

    def __init__(self, engine: Door, max_in_flight: int = 0) -> None:
        self._engine = engine
        self._max_in_flight = max_in_flight
        self._owners: dict[int, tuple[_Admitted, int]] = {}
        self._backlog = Backlog()
        self._posted: deque[Callable[[], None]] = deque()
        self._callers = CallerWatch()
        self._calls: set[_Admitted] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="line", daemon=True)

    @property
    def in_flight(self) -> int:
        """Calls admitted and not yet answered."""
        return len(self._calls)

    def states(self) -> dict[str, float]:
        """What the line can say of itself, for metrics."""
        return {"requests_in_flight": len(self._calls)}

    def start(self) -> None:
        self._thread.start()
        self._callers.start()

    def stop(self) -> None:
        """Ends the driver's thread; calls still under way are failed."""
        self._stopping = True
        self._engine.wake()
        self._thread.join()
        self._callers.stop()
        self._engine.close()

    def info(self) -> EngineInfo:
        """The engine's facts."""
        return self._engine.info()

    def take(self, work: Callable[[], None]) -> None:
        """Reads a request, checks and admits it: at once, on the thread that has it."""
        work()

    def post(self, action: Callable[[], None]) -> None:
        """Runs something on the driver's thread: only that thread sends responses."""
        self._posted.append(action)
        self._engine.wake()

    def cancel(self, request_id: str) -> None:
        """Ends the calls of that request id as «cancelled», with what they have said. The driver's thread only."""
        for admitted in [a for a in list(self._calls) if a.call.request_id == request_id]:  # others admit meanwhile
            for key in list(admitted.keys):
                self._deliver(key, TokenChunk(finish="cancelled"))

    def admit(self, call: Call, requests: Sequence[EngineRequest]) -> None:
        """Submits a call's sequences. Raises Unavailable beyond the bound or without an engine."""
        if self._max_in_flight and len(self._calls) >= self._max_in_flight:
            raise Unavailable(f"{len(self._calls)} requests are in flight, the most admitted at once; try again later")
        admitted = _Admitted(call)
        self._calls.add(admitted)
        try:
            self._engine.submit(requests, lambda keys: self._register(keys, admitted))
        except QwenTritonError:
            self._calls.discard(admitted)
            raise
        self._callers.watch(
            call.abandoned, lambda: self.post(lambda: self._abandon(admitted)), lambda: admitted in self._calls
        )

    def _register(self, keys: list[int], admitted: _Admitted) -> None:
        admitted.keys.update(keys)
        self._owners.update((key, (admitted, index)) for index, key in enumerate(keys))

    def _release(self, admitted: _Admitted) -> None:
        """Lets go of a call: what its sequences still generate is cancelled."""
        for key in admitted.keys:
            self._owners.pop(key, None)
            self._engine.cancel(key)
        admitted.keys = set()
        self._calls.discard(admitted)

    def _run(self) -> None:
        while not self._stopping:
            self._engine.receive(self, 0.0 if self._backlog or self._posted else None)
            while self._posted:
                self._act(self._posted.popleft())
            for _ in range(_TURN):
                if not self._backlog:
                    break
                self._deliver(*self._backlog.pop())
        for admitted in list(self._calls):
            self._fail(admitted, Unavailable("the server is shutting down"))

    def _act(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # whatever became of one caller, the others go on
            _log.exception("a caller could not be answered")

    def gained(self, key: int, token_ids: list[int], extras: Extras | None) -> None:
        """Takes a chunk from the engine (engines.door.Sink)."""
        if key in self._owners:
            self._backlog.add(key, token_ids, extras)

    def refused(self, key: int, error: InvalidRequest) -> None:
        """Takes an engine's refusal (engines.door.Sink)."""
        if key in self._owners:
            self._fail(self._owners[key][0], error)

    def _deliver(self, key: int, chunk: TokenChunk) -> None:
        owner = self._owners.get(key)
        if owner is None:
            return
        admitted, index = owner
        if chunk.finish == "error":
            _log.error("the engine failed on a request: %s", chunk.error)
            self._fail(admitted, EngineError(chunk.error))
            return
        try:
            done = admitted.call.feed(index, chunk)
        except Exception as error:  # whatever one call's text or caller does, the others go on
            _log.exception("a call failed")
            self._fail(admitted, error)
            return
        if done or (chunk.finish and chunk.last):
            self._finish(admitted, key)

    def _finish(self, admitted: _Admitted, key: int) -> None:
        admitted.keys.discard(key)
        self._owners.pop(key, None)
        self._engine.cancel(key)
        if not admitted.keys:
            self._calls.discard(admitted)

    def _fail(self, admitted: _Admitted, error: Exception) -> None:
        self._release(admitted)
        try:
            admitted.call.fail(error)
        except Exception:  # a caller that cannot be told is no reason to stop for the others
            _log.exception("a call could not be failed")

    def _abandon(self, admitted: _Admitted) -> None:
        if admitted in self._calls:
            self._release(admitted)
            admitted.call.close()
