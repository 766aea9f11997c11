"""Graceful shutdown: readiness fails at once; requests are accepted for `notice_s`; accepted ones then have `drain_s`."""

from __future__ import annotations

import asyncio
from collections.abc import MutableSequence

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError


class Drain:
    """State of the shutdown: counts requests in flight and says whether new ones are refused.

    `counts`: the requests in flight of each process on this port, in memory that they share; `place`: this process's.
    """

    def __init__(self, counts: MutableSequence[int] | memoryview | None = None, place: int = 0) -> None:
        self.leaving = False
        self._counts = [0] if counts is None else counts
        self._place = place
        self._refusing = False
        self._in_flight = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def in_flight(self) -> int:
        """Requests of all processes on this port."""
        return sum(self._counts)

    @property
    def refusing(self) -> bool:
        return self._refusing

    async def leave(self, notice_s: float, drain_s: float) -> bool:
        """Shuts down. Returns True when the last request has ended, False when `drain_s` after the notice some still run."""
        self.leaving = True
        await asyncio.sleep(notice_s)
        self._refusing = True
        try:
            await asyncio.wait_for(self._empty.wait(), drain_s)
        except asyncio.TimeoutError:
            return False
        return True

    def begin(self) -> None:
        self._in_flight += 1
        self._counts[self._place] = self._in_flight
        self._empty.clear()

    def end(self) -> None:
        self._in_flight -= 1
        self._counts[self._place] = self._in_flight
        if not self._in_flight:
            self._empty.set()


class DrainMiddleware:
    """Counts the requests under /v1 that are in flight; answers 503 to new ones once the drain refuses them."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        if self._drain.refusing:
            error = ApiError(503, "this server is shutting down; try again", code="shutting_down")
            error.headers = {"Retry-After": "1", "Connection": "close"}
            await error.response()(scope, receive, send)
            return
        self._drain.begin()
        try:
            await self._app(scope, receive, send)
        finally:
            self._drain.end()
