"""HTTP response of a generation, streamed or whole; cancels the generation when the client disconnects."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.text_outputs import TextPiece

from ..backend.generation import Generation
from ..errors import CLIENT_CLOSED_REQUEST, ApiError, Json, escaped_lines, to_api_error
from ..middleware.body_limit import BufferedReceive
from .observer import Observer

_log = logging.getLogger(__name__)

_HEADERS = (
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
    (b"content-type", b"text/event-stream; charset=utf-8"),
)


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
    with DisconnectWatch(request.receive, reader.cancel) as watch:
        try:
            pieces = await reader.read_all()
        except ApiError:
            if not watch.gone:
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
    status_code = 200
    background = None

    def __init__(self, reader: AnswerReader, writer: Writer, keep_alive_s: float) -> None:
        # Not Starlette's, which works out the same headers anew each time.
        self.raw_headers = list(_HEADERS)
        self._reader = reader
        self._writer = writer
        self._keep_alive_s = keep_alive_s
        self._started = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with DisconnectWatch(receive, self._reader.cancel) as watch:
            try:
                await self._send_all(scope.get("send_body", send), send)
            except ApiError as error:
                if not watch.gone:
                    await self._send_error(error, scope, receive, send)
            except Exception as error:
                _log.error("a stream failed", exc_info=error)
                await self._send_error(
                    ApiError(500, "internal error; the server's log has the cause"), scope, receive, send
                )
            finally:
                self._reader.cancel()

    async def _send_all(self, send_body: Send, send: Send) -> None:
        silence = _Silence(self._keep_alive_s, partial(self._send_keep_alive, send))
        try:
            pieces = await self._reader.read()
            await silence.end()
            await self._start(send)
            while pieces:
                if body := escaped_lines(self._writer.write(pieces)):
                    await send_body({"type": "http.response.body", "body": body, "more_body": True})
                silence.begin()
                pieces = await self._reader.read()
                await silence.end()
            await send({"type": "http.response.body", "body": self._writer.end(), "more_body": False})
        finally:
            await silence.close()

    async def _send_keep_alive(self, send: Send) -> None:
        await self._start(send)
        await send({"type": "http.response.body", "body": self._writer.keep_alive, "more_body": True})

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


class _Silence:
    """Calls `fill` each time a stream has been silent for `seconds` (0 = never), from its making or the last `begin` on.

    A stream must not send while `fill` runs: `end` waits for it. One timer runs for the whole stream, because a timer for
    each piece costs more than the piece.
    """

    def __init__(self, seconds: float, fill: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._seconds = seconds
        self._fill = fill
        self._loop = asyncio.get_running_loop()
        self._since: float | None = self._loop.time()
        self._filling: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(seconds, self._check) if seconds else None

    def begin(self) -> None:
        """From now on the stream waits for something to send."""
        self._since = self._loop.time()

    async def end(self) -> None:
        """The stream has something to send. Raises what `fill` raised."""
        self._since = None
        if self._filling is not None:
            filling, self._filling = self._filling, None
            await filling

    async def close(self) -> None:
        """Nothing is filled any more; what has begun is sent whole, before an error that may follow. Raises nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._filling is not None:
            await asyncio.gather(self._filling, return_exceptions=True)

    def _check(self) -> None:
        """Fills a silence that has lasted; else sets the timer to when this one, or the next, will have."""
        now = self._loop.time()
        since = now if self._since is None else self._since
        if now - since >= self._seconds:
            self._since = since = now
            if self._filling is None or (self._filling.done() and self._filling.exception() is None):
                self._filling = self._loop.create_task(self._fill())
        self._timer = self._loop.call_later(since + self._seconds - now, self._check)


class DisconnectWatch:
    """A context in which `on_gone` is called when the client disconnects; `gone`: whether it has.

    `receive`: that of BodyLimitMiddleware, whose body has been read. No task of its own: a callback.
    """

    def __init__(self, receive: Receive, on_gone: Callable[[], None]) -> None:
        assert isinstance(receive, BufferedReceive)
        self._told = receive.gone()
        self._on_gone = on_gone
        self.gone = False

    def __enter__(self) -> DisconnectWatch:
        self._told.add_done_callback(self._on_told)
        return self

    def __exit__(self, *_: object) -> None:
        self._told.remove_done_callback(self._on_told)

    def _on_told(self, told: asyncio.Task[Message]) -> None:
        if not told.cancelled():
            self.gone = True
            self._on_gone()
