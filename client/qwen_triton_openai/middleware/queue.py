"""Admission queue: a bounded number of requests generates, a bounded number waits, others are answered 503."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError
from .body_limit import BufferedReceive

GENERATING = frozenset(("/v1/chat/completions", "/v1/completions"))
_RETRY_AFTER_S = 1


class QueueMiddleware:
    """Holds a request until it has a slot; a client that disconnects while it waits leaves the queue.

    Needs BodyLimitMiddleware before it: only its `receive` can be watched without losing the disconnect.
    """

    def __init__(self, app: ASGIApp, queue: WaitQueue, timeout_s: float) -> None:
        self._app = app
        self._queue = queue
        self._timeout_s = timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] not in GENERATING or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            slot = self._queue.enter()
        except QueueFull:
            await _overloaded("the queue is full").response()(scope, receive, send)
            return
        try:
            if slot.done() or await self._wait(slot, scope, receive, send):
                await self._app(scope, receive, send)
        finally:
            self._queue.leave(slot)

    async def _wait(self, slot: asyncio.Future[None], scope: Scope, receive: Receive, send: Send) -> bool:
        """Waits for the slot. True: run the request; False: it was answered 503, or its client has disconnected."""
        assert isinstance(receive, BufferedReceive)
        started = time.monotonic()
        gone = receive.gone()
        done, _ = await asyncio.wait((slot, gone), timeout=self._timeout_s, return_when=asyncio.FIRST_COMPLETED)
        scope["record"].queued_s = time.monotonic() - started
        if not done:
            await _overloaded(f"no turn came within {self._timeout_s:g} s").response()(scope, receive, send)
        return slot in done and gone not in done


def _overloaded(reason: str) -> ApiError:
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    return ApiError(503, f"this server is at its limit, {reason}; try again", code="overloaded", headers=headers)


class QueueFull(Exception):
    """All slots are taken and the queue is full."""


class WaitQueue:
    """First come, first served. A slot is a future that is done once the request may run; each must be left.

    `max_in_flight`: slots in all, 0 = no bound; `max_queued`: requests that may wait for one.
    """

    def __init__(self, max_in_flight: int, max_queued: int) -> None:
        self._max_in_flight = max_in_flight
        self._max_queued = max_queued
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0

    @property
    def length(self) -> int:
        return len(self._waiting)

    def enter(self) -> asyncio.Future[None]:
        """A slot: done at once if one is free, else when another is left. Raises QueueFull."""
        slot: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._max_in_flight or self.in_flight < self._max_in_flight:
            self.in_flight += 1
            slot.set_result(None)
        elif len(self._waiting) < self._max_queued:
            self._waiting.append(slot)
        else:
            raise QueueFull
        return slot

    def leave(self, slot: asyncio.Future[None]) -> None:
        """Gives a slot back, or a request's place in the queue if it has no slot yet."""
        if not slot.done():
            slot.cancel()
            self._waiting.remove(slot)
            return
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.in_flight -= 1
