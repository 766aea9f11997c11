"""One HTTP request from its generation to its response, streamed or whole; it ends when the client leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.text_outputs import TextPiece

from ..backend.generation import Generation
from ..errors import ApiError, Json, from_line
from ..observer import Observer
from .chunks import COMMENT, event

_log = logging.getLogger(__name__)

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
CLIENT_CLOSED_REQUEST = 499
"""Nobody sees it but the access log."""


class Writer(Protocol):
    """A kind of completion as server-sent events."""

    def write(self, pieces: Sequence[TextPiece]) -> bytes: ...
    def end(self) -> bytes: ...


class Answering:
    """Reads a generation, tells the observer, and names errors in the endpoint's words."""

    def __init__(self, generation: Generation, observer: Observer, names: Mapping[str, str]) -> None:
        self._generation = generation
        self._observer = observer
        self._names = names

    def cancel(self) -> None:
        self._generation.cancel()

    async def read(self) -> list[TextPiece]:
        """The next pieces, none at the end. Raises ApiError."""
        try:
            pieces = await self._generation.read()
        except QwenTritonError as error:
            raise from_line(error, self._names) from error
        for piece in pieces:
            if piece.finish in ("cancelled", "error"):
                raise ApiError(503, "the server took the request back; try again", code=piece.finish)
        self._observer.heard(pieces)
        return pieces

    async def read_all(self) -> list[TextPiece]:
        found: list[TextPiece] = []
        while pieces := await self.read():
            found += pieces
        return found


async def whole(request: Request, answering: Answering, body: Callable[[list[TextPiece]], Any]) -> Response:
    """The answer in one JSON body."""
    async with watching(request.receive, answering.cancel) as gone:
        try:
            pieces = await answering.read_all()
        except ApiError:
            if not gone():
                raise
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        finally:
            answering.cancel()
    return Json(body(pieces))


class EventStream(Response):
    """The answer as server-sent events. What fails before the first piece is an ordinary error response."""

    media_type = "text/event-stream"

    def __init__(self, answering: Answering, writer: Writer, keep_alive_s: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._answering = answering
        self._writer = writer
        self._keep_alive_s = keep_alive_s
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with watching(receive, self._answering.cancel) as gone:
            try:
                # A task of its own: what wakes it does not pass through thirty coroutines of the framework each time.
                await asyncio.create_task(self._send_all(scope.get("send_body", send), send))
            except ApiError as error:
                if not gone():
                    await self._fail(error, scope, receive, send)
            except Exception as error:
                _log.error("a stream failed", exc_info=error)
                await self._fail(ApiError(500, "internal error; the server's log has the cause"), scope, receive, send)
            finally:
                self._answering.cancel()

    async def _send_all(self, send_body: Send, send: Send) -> None:
        pieces = await self._next(send)
        await self._start(send)
        while pieces:
            if body := self._writer.write(pieces):
                await send_body({"type": "http.response.body", "body": body, "more_body": True})
            pieces = await self._next(send)
        await send({"type": "http.response.body", "body": self._writer.end(), "more_body": False})

    async def _next(self, send: Send) -> list[TextPiece]:
        if not self._keep_alive_s:
            return await self._answering.read()
        reading = asyncio.ensure_future(self._answering.read())
        try:
            while not (await asyncio.wait((reading,), timeout=self._keep_alive_s))[0]:
                await self._start(send)
                await send({"type": "http.response.body", "body": COMMENT, "more_body": True})
        finally:
            reading.cancel()
        return reading.result()

    async def _start(self, send: Send) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _fail(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        if self._started:
            await send({"type": "http.response.body", "body": event(error.body), "more_body": False})
        else:
            await error.response()(scope, receive, send)


class ClientGone(Exception):
    """The client closed its connection before it had its answer."""


@contextlib.asynccontextmanager
async def watching(receive: Receive, on_gone: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
    """Calls `on_gone` when the client leaves; gives a function that says whether it has. The body has been read."""
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        on_gone()

    task = asyncio.create_task(watch())
    try:
        yield lambda: gone
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
