"""SlotClaim queue: a bounded number of sequences is generated, a bounded number waits, others are answered 503."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import CLIENT_CLOSED_REQUEST, ApiError
from .body_limit import BufferedReceive
from .observe import RequestRecord

GENERATING = frozenset(("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses"))
_RETRY_AFTER_S = 1


class Slots(Protocol):
    """A wait queue: `WaitQueue` in this process, or one that another process keeps for several."""

    @property
    def full(self) -> bool:
        """Whether even a request of one sequence is sure to be refused; `enter` decides."""

    def enter(self, sequences: int = 1) -> asyncio.Future[None]:
        """An entry, done once the request may run; each must be left. Raises QueueFull, here or from the future."""

    def leave(self, entry: asyncio.Future[None]) -> None:
        """Gives a request's slots back, or its place in the queue."""

    async def ask_length(self) -> int:
        """The requests that wait."""


class QueueMiddleware:
    """Gives an endpoint its `SlotClaim`, and gives the slots back at the end of the response.

    Refuses at once what finds the queue full. Needs BodyLimitMiddleware before it: only its `receive` can be watched
    without losing the disconnect.
    """

    def __init__(self, app: ASGIApp, queue: Slots, timeout_s: float) -> None:
        self._app = app
        self._queue = queue
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in GENERATING or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        if self._queue.full:
            await _overloaded("the queue is full").response()(scope, receive, send)
            return
        assert isinstance(receive, BufferedReceive)
        admission = scope["admission"] = SlotClaim(self._queue, self._timeout_s, receive, scope["record"])
        try:
            await self._app(scope, receive, send)
        finally:
            del scope["admission"]  # a cycle: the server's `receive` has the scope
            admission.leave()


class SlotClaim:
    """The slots of one request, one for each sequence that it generates; an endpoint knows how many these are."""

    def __init__(self, queue: Slots, timeout_s: float, receive: BufferedReceive, record: RequestRecord) -> None:
        self._queue = queue
        self._timeout_s = timeout_s
        self._receive = receive
        self._record = record
        self._slot: asyncio.Future[None] | None = None

    async def enter(self, sequences: int) -> None:
        """Returns when the request may generate. Raises ApiError: 503 beyond the queue or its longest wait, and 499 for
        a client that has disconnected meanwhile, whose place is free again."""
        try:
            self._slot = self._queue.enter(sequences)
            if not self._slot.done():
                await self._wait(self._slot)
        except QueueFull:
            raise _overloaded("the queue is full") from None

    def leave(self) -> None:
        """Gives the slots back."""
        if self._slot is not None:
            self._queue.leave(self._slot)

    async def _wait(self, slot: asyncio.Future[None]) -> None:
        started = time.monotonic()
        gone = self._receive.gone()
        done, _ = await asyncio.wait((slot, gone), timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        self._record.queued_s = time.monotonic() - started
        if gone in done:
            raise ApiError(CLIENT_CLOSED_REQUEST, "the client has disconnected")
        if not done:
            raise _overloaded(f"no turn came within {self._timeout_s:g} s")
        slot.result()


def _overloaded(reason: str) -> ApiError:
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return ApiError(503, f"this server is at its limit, {reason}; try again", code="overloaded", headers=headers)


class QueueFull(Exception):
    """All slots are taken and the queue is full."""


class WaitQueue:
    """First come, first served. An entry is a future that is done once the request may run; each must be left.

    `max_in_flight`: sequences in all, 0 = no bound; a request of more runs when nothing else does. `max_queued`:
    sequences that may wait; where nobody waits, a request of more may.
    """

    def __init__(self, max_in_flight: int, max_queued: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sizes: dict[asyncio.Future[None], int] = {}
        """Sequences of each entry, those that run and those that wait."""
        self._queued = 0
        self.in_flight = 0

    @property
    def length(self) -> int:
        """The requests that wait."""
        return len(self._waiting)

    async def ask_length(self) -> int:
        return self.length

    @property
    def full(self) -> bool:
        """Whether even a request of one sequence would be refused."""
        return not self._has_room(1) and not self._may_wait(1)

    def enter(self, sequences: int = 1) -> asyncio.Future[None]:
        """An entry: done at once if there is room, else when there is. Raises QueueFull."""
        size = min(sequences, self._max_in_flight) if self._max_in_flight else sequences
        entry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._has_room(size):
            self.in_flight += size
            entry.set_result(None)
        elif self._may_wait(size):
            self._waiting.append(entry)
            self._queued += size
        else:
            raise QueueFull
        self._sizes[entry] = size
        return entry

    def leave(self, entry: asyncio.Future[None]) -> None:
        """Gives a request's slots back, or its place in the queue if it has none yet."""
        size = self._sizes.pop(entry)
        if entry.done():
            self.in_flight -= size
        else:
            entry.cancel()
            self._waiting.remove(entry)
            self._queued -= size
        while self._waiting and self.in_flight + self._sizes[self._waiting[0]] <= self._max_in_flight:
            first = self._waiting.popleft()
            self._queued -= self._sizes[first]
            self.in_flight += self._sizes[first]
            first.set_result(None)

    def _has_room(self, size: int) -> bool:
        if not self._max_in_flight:
            return True
        return not self._waiting and self.in_flight + size <= self._max_in_flight

    def _may_wait(self, size: int) -> bool:
        return self._queued + size <= self._max_queued or (not self._waiting and self._max_queued > 0)
