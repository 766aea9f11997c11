"""Lets a bounded number of requests generate, has a bounded number wait, and refuses the rest with 503."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError
from .body_limit import BufferedReceive

GENERATING = frozenset(("/v1/chat/completions", "/v1/completions"))
_RETRY_AFTER_S = 1


class QueueGate:
    """A client that leaves while it waits gives up its place. Stands behind BodyGate, whose `receive` it watches."""

    def __init__(self, app: ASGIApp, queue: WaitQueue, timeout_s: float) -> None:
        self._app = app
        self._queue = queue
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in GENERATING or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            place = self._queue.enter()
        except QueueFull:
            await _overloaded("the line is full").response()(scope, receive, send)
            return
        try:
            if place.done() or await self._wait(place, scope, receive, send):
                await self._app(scope, receive, send)
        finally:
            self._queue.leave(place)

    async def _wait(self, place: asyncio.Future[None], scope: Scope, receive: Receive, send: Send) -> bool:
        """Whether the turn has come before the client left or time was up."""
        assert isinstance(receive, BufferedReceive)
        started = time.monotonic()
        gone = receive.gone()
        done, _ = await asyncio.wait((place, gone), timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        scope["record"].queued_s = time.monotonic() - started
        if not done:
            await _overloaded(f"no turn came within {self._timeout_s:g} s").response()(scope, receive, send)
        return place in done and gone not in done


def _overloaded(reason: str) -> ApiError:
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return ApiError(503, f"this server is at its limit, {reason}; try again", code="overloaded", headers=headers)


class QueueFull(Exception):
    """No place, and none in the line."""


class WaitQueue:
    """`max_in_flight` 0 = no bound. A place is a future, done when the turn has come; every place must be left."""

    def __init__(self, max_in_flight: int, max_queued: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def length(self) -> int:
        return len(self._waiting)

    def enter(self) -> asyncio.Future[None]:
        """A place, now or later. Raises QueueFull."""
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._max_in_flight or self.in_flight < self._max_in_flight:
            self.in_flight += 1
            place.set_result(None)
        elif len(self._waiting) < self._max_queued:
            self._waiting.append(place)
        else:
            raise QueueFull
        return place

    def leave(self, place: asyncio.Future[None]) -> None:
        """Gives the place back, whether its turn has come or not."""
        if not place.done():
            place.cancel()
            self._waiting.remove(place)
            return
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.in_flight -= 1
