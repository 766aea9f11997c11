"""Leaving in order: not ready at once, new work for a little while yet, then only what was accepted."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError


class Drain:
    """Counts the requests under way and knows whether more are taken."""

    def __init__(self) -> None:
        self.leaving = False
        self._refusing = False
        self._in_flight = 0
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def in_flight(self) -> int:
        return self._in_flight

    @property
    def refusing(self) -> bool:
        return self._refusing

    async def leave(self, notice_s: float, drain_s: float) -> bool:
        """Returns when the last accepted request has ended (true), or `drain_s` after the notice (false)."""
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
        self._empty.clear()

    def end(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._empty.set()


class DrainGate:
    """Middleware: counts what runs under /v1, and refuses more of it once the shim is leaving."""

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
