"""Reads a request's body, up to a limit, before anything else looks at it."""

from __future__ import annotations

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ApiError


class BufferedReceive:
    """`receive` of a request whose body has been read: the body once, then what comes behind it, the disconnect.

    `gone()` can be waited for meanwhile, and given up, without losing the message.
    """

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._body: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive
        self._next: asyncio.Task[Message] | None = None

    async def __call__(self) -> Message:
        if self._body is not None:
            body, self._body = self._body, None
            return body
        return await asyncio.shield(self.gone())

    def gone(self) -> asyncio.Task[Message]:
        """Done when the client has left."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._disconnect())
        return self._next

    def close(self) -> None:
        if self._next is not None:
            self._next.cancel()

    async def _disconnect(self) -> Message:
        while (message := await self._receive())["type"] != "http.disconnect":
            pass
        return message


class BodyGate:
    """413 for a body of more than `max_bytes`, as soon as that is known."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if body is None:
            await self._too_large().response()(scope, receive, send)
            return
        buffered = BufferedReceive(body, receive)
        try:
            await self._app(scope, buffered, send)
        finally:
            buffered.close()

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None when it is too large."""
        told = Headers(scope=scope).get("content-length", "")
        if told.isdigit() and int(told) > self._max_bytes:
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= self._max_bytes:
            message = await receive()
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        return None if size > self._max_bytes else b"".join(parts)

    def _too_large(self) -> ApiError:
        message = f"the request body is larger than the {self._max_bytes} bytes that are taken here; send less"
        return ApiError(413, message, code="request_too_large", headers={"Connection": "close"})
