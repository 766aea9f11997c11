"""HTTP response of a generation, streamed or whole; cancels the generation when the client disconnects."""

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
from ..errors import CLIENT_CLOSED_REQUEST, ApiError, Json, escaped_lines, to_api_error
from .observer import Observer

_log = logging.getLogger(__name__)

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class Writer(Protocol):
    """Encodes one kind of answer as server-sent events. `keep_alive`: what a stream that is silent carries."""

    keep_alive: bytes

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        """The events of these pieces; may be empty."""

    def end(self) -> bytes:
        """The stream's last events."""

    def fail(self, error: ApiError) -> bytes:
        """The last events of a stream that failed after its response had started, in place of `end`."""


class AnswerReader:
    """Reads a generation for an endpoint: shows pieces to the observer and maps errors to the endpoint's parameter names.

    `names`: the model's name of a parameter → the endpoint's.
    """

    def __init__(self, generation: Generation, observer: Observer, names: Mapping[str, str]) -> None:
        self._generation = generation
        self._observer = observer
        self._names = names

    def cancel(self) -> None:
        self._generation.cancel()

    async def read(self) -> list[TextPiece]:
        """The next pieces; an empty list at the end. Raises ApiError."""
        try:
            pieces = await self._generation.read()
        except QwenTritonError as error:
            raise to_api_error(error, self._names) from error
        for piece in pieces:
            if piece.finish in ("cancelled", "error"):
                raise ApiError(503, "the server took the request back; try again", code=piece.finish)
        self._observer.on_pieces(pieces)
        return pieces

    async def read_all(self) -> list[TextPiece]:
        """All pieces until the end. Raises ApiError."""
        every: list[TextPiece] = []
        while pieces := await self.read():
            every += pieces
        return every


async def whole(request: Request, reader: AnswerReader, body: Callable[[list[TextPiece]], Any]) -> Response:
    """The answer as one JSON object, which `body` makes of all pieces. Raises ApiError."""
    async with watch_disconnect(request.receive, reader.cancel) as gone:
        try:
            pieces = await reader.read_all()
        except ApiError:
            if not gone():
                raise
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        finally:
            reader.cancel()
    return Json(body(pieces))


class EventStream(Response):
    """The answer as server-sent events. An error before the first piece is an ordinary error response.

    `keep_alive_s`: a stream that is silent for so long carries the writer's `keep_alive`; 0 = never.
    """

    media_type = "text/event-stream"

    def __init__(self, reader: AnswerReader, writer: Writer, keep_alive_s: float) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._reader = reader
        self._writer = writer
        self._keep_alive_s = keep_alive_s
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with watch_disconnect(receive, self._reader.cancel) as gone:
            try:
                # Run in its own task: each wake-up then resumes one coroutine, not the ~30 nested ones of the middleware.
                await asyncio.create_task(self._send_all(scope.get("send_body", send), send))
            except ApiError as error:
                if not gone():
                    await self._send_error(error, scope, receive, send)
            except Exception as error:
                _log.error("a stream failed", exc_info=error)
                await self._send_error(
                    ApiError(500, "internal error; the server's log has the cause"), scope, receive, send
                )
            finally:
                self._reader.cancel()

    async def _send_all(self, send_body: Send, send: Send) -> None:
        pieces = await self._next(send)
        await self._start(send)
        while pieces:
            if body := escaped_lines(self._writer.write(pieces)):
                await send_body({"type": "http.response.body", "body": body, "more_body": True})
            pieces = await self._next(send)
        await send({"type": "http.response.body", "body": self._writer.end(), "more_body": False})

    async def _next(self, send: Send) -> list[TextPiece]:
        if not self._keep_alive_s:
            return await self._reader.read()
        reading = asyncio.ensure_future(self._reader.read())
        try:
            while not (await asyncio.wait((reading,), timeout=self._keep_alive_s))[0]:
                await self._start(send)
                await send({"type": "http.response.body", "body": self._writer.keep_alive, "more_body": True})
        finally:
            reading.cancel()
        return reading.result()

    async def _start(self, send: Send) -> None:
        if not self._started:
            self._started = True
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})

    async def _send_error(self, error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
        if self._started:
            body = escaped_lines(self._writer.fail(error))
            await send({"type": "http.response.body", "body": body, "more_body": False})
        else:
            await error.response()(scope, receive, send)


@contextlib.asynccontextmanager
async def watch_disconnect(receive: Receive, on_gone: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
    """Calls `on_gone` when the client disconnects; yields a function that says whether it has.

    Messages other than the disconnect are dropped, so the request's body must have been read.
    """
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
