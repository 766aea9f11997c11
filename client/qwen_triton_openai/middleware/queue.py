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


def slots_of(sequences: int, most: int) -> int:
    """The slots that a request takes, where there are so many, 0 = no bound: one that needs more takes all of them."""
    return min(sequences, most) if most else sequences


class Room(Protocol):
    """The slots of one process, or of several that share them. `place`: that of the process whose request it is."""

    @property
    def taken(self) -> int:
        """The sequences that generate."""

    def fits(self, size: int) -> bool:
        """Whether so many more have room."""

    def take(self, size: int, place: int) -> bool:
        """Takes slots; False where there is no room."""

    def give_back(self, size: int, place: int) -> object:
        """Gives slots back."""

    def announce(self, waiting: int) -> None:
        """Says how many requests wait."""


class OwnRoom:
    """The slots of one process. `most`: sequences at once, 0 = no bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def fits(self, size: int) -> bool:
        return not self._most or self.taken + size <= self._most

    def take(self, size: int, place: int) -> bool:
        del place
        if not self.fits(size):
            return False
        self.taken += size
        return True

    def give_back(self, size: int, place: int) -> None:
        del place
        self.taken -= size

    def announce(self, waiting: int) -> None: ...


class WaitQueue:
    """First come, first served. An entry is a future that is done once the request may run; each must be left.

    `max_in_flight`: sequences in all, 0 = no bound; a request of more runs when nothing else does. `max_queued`:
    sequences that may wait; where nobody waits, a request of more may. `room`: the slots, None = those of this process.
    """

    def __init__(self, max_in_flight: int, max_queued: int, room: Room | None = None) -> None:
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._room: Room = room or OwnRoom(max_in_flight)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._sizes: dict[asyncio.Future[None], tuple[int, int]] = {}
        """Sequences of each entry, those that run and those that wait, and its place."""
        self._queued = 0

    @property
    def in_flight(self) -> int:
        """The sequences that generate."""
        return self._room.taken

    @property
    def length(self) -> int:
        """The requests that wait."""
        return len(self._waiting)

    async def ask_length(self) -> int:
        return self.length

    @property
    def full(self) -> bool:
        """Whether even a request of one sequence would be refused."""
        return (bool(self._waiting) or not self._room.fits(1)) and not self._may_wait(1)

    def enter(self, sequences: int = 1, place: int = 0) -> asyncio.Future[None]:
        """An entry: done at once if there is room, else when there is. Raises QueueFull."""
        size = slots_of(sequences, self._max_in_flight)
        entry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._waiting and self._room.take(size, place):
            entry.set_result(None)
        elif self._may_wait(size):
            self._waiting.append(entry)
            self._queued += size
        else:
            raise QueueFull
        self._sizes[entry] = size, place
        if not entry.done():
            self._room.announce(len(self._waiting))
            self.go_on()
        return entry

    def leave(self, entry: asyncio.Future[None]) -> None:
        """Gives a request's slots back, or its place in the queue if it has none yet."""
        size, place = self._sizes.pop(entry)
        if entry.done():
            self._room.give_back(size, place)
        else:
            entry.cancel()
            self._waiting.remove(entry)
            self._queued -= size
            self._room.announce(len(self._waiting))
        self.go_on()

    def go_on(self) -> None:
        """Lets those run who wait and now have room."""
        while self._waiting and self._room.take(*self._sizes[self._waiting[0]]):
            first = self._waiting.popleft()
            self._queued -= self._sizes[first][0]
            self._room.announce(len(self._waiting))
            first.set_result(None)

    def _may_wait(self, size: int) -> bool:
        return self._queued + size <= self._max_queued or (not self._waiting and self._max_queued > 0)
