"""Body limit: reads a request's whole body before the endpoint, and refuses one that is too large.

The limit holds for the bytes that are sent and for those that they decode to.
"""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..content_encoding import decoded, too_large
from ..errors import ApiError


class BufferedReceive:
    """`receive` of a request whose body has been read: gives the body once, then waits for the disconnect.

    Middleware may wait for `gone()` and stop waiting without losing the disconnect for those behind it.
    """

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: bytes | None = body
        self._receive = receive
        self._next: asyncio.Task[Message] | None = None

    async def __call__(self) -> Message:
        if self._body is not None:
            return {"type": "http.request", "body": self.take(), "more_body": False}
        return await asyncio.shield(self.gone())

    def take(self) -> bytes:
        """The body, empty where it has been given before."""
        body, self._body = self._body, None
        return body or b""

    def gone(self) -> asyncio.Task[Message]:
        """A task that ends when the client has disconnected."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._disconnect())
        return self._next

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None  # a cycle: the task has this object

    async def _disconnect(self) -> Message:
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        return message


class Disconnected:
    """In place of a body whose client disconnected before its end."""


class BodyLimitMiddleware:
    """Answers 413 as soon as a body is known to be larger than `max_bytes`: by its declared length or while it is read."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if isinstance(body, Disconnected):
            return
        if body is None:
            await too_large(self._max_bytes).response()(scope, receive, send)
            return
        try:
            body = decoded(body, Headers(scope=scope).get("content-encoding", ""), self._max_bytes)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        buffered = BufferedReceive(body, receive)
        try:
            await self._app(scope, buffered, send)
        finally:
            buffered.close()

    async def _read(self, scope: Scope, receive: Receive) -> bytes | Disconnected | None:
        """The body; None when it is too large, Disconnected when the client left within it."""
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= self._max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                return Disconnected()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        return None if size > self._max_bytes else b"".join(parts)
