"""One HTTP connection within the table of limits: uvicorn's protocol, which has no bounds of its own but idle time.

Counts bytes as they arrive, before the parser keeps them: a URL or headers above their limit are refused with 414 or 431, a
body that needs far more bytes on the wire than it has (chunks of one byte, chunk extensions, trailers) with 413, and what
does not arrive in time with 408. Knows no endpoint; the size of a body as such is for middleware/body_limit.py.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from qwen_triton.tensors.limits import too_many

from ..errors import ApiError, Json, is_messages_path
from ..settings import ShimSettings

_LINGER_S = 2.0
"""How long a refused client may go on sending before it is cut off; closed at once, it would get no answer but a reset."""
_FRAMING_BYTES = 64 << 10


class _Refused(Exception):
    """Raised in a callback of the parser, to stop it."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection with bounds; a subclass made by `bounded_protocol` has the settings."""

    settings: ShimSettings
    _in_head = True
    _head_bytes = 0
    _body_bytes = 0
    _trailer_bytes = 0
    _refusal: ApiError | None = None
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        self._set_deadline(self.settings.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clear_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refusal is not None:
            return
        if self._in_head:
            self._head_bytes += len(data)
        else:
            self._body_bytes += len(data)
        super().data_received(data)
        if self._refusal is None and not self.transport.is_closing():
            self._check_arrived()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._deadline is None:
            self._set_deadline(self.settings.header_timeout_s)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._check("url_bytes", len(self.url), 414)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailer_bytes += len(name) + len(value)
            self._check("header_bytes", self._trailer_bytes, 431)
            return
        super().on_header(name, value)
        self._check("headers", len(self.headers), 431)

    def on_headers_complete(self) -> None:
        self._check("header_bytes", sum(len(name) + len(value) for name, value in self.headers), 431)
        self._in_head, self._head_bytes, self._body_bytes, self._trailer_bytes = False, 0, 0, 0
        self._set_deadline(self.settings.body_timeout_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._clear_deadline()
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answers what the parser gave up on: a refusal of ours, or a message that is not HTTP."""
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._answer_refusal(self._refusal)

    def _check(self, limit: str, size: int, status: int) -> None:
        most = getattr(self.settings.limits, limit)
        if size > most:
            self._refusal = _refusal(status, too_many(limit, size, most))
            raise _Refused

    def _check_arrived(self) -> None:
        """Refuses what the parser still collects: a header that has not ended, or a body of hardly anything but framing."""
        limits, most_body = self.settings.limits, 2 * self.settings.max_body_bytes + _FRAMING_BYTES
        most_head = limits.url_bytes + limits.header_bytes
        if self._in_head and self._head_bytes > most_head:
            self._answer_refusal(_refusal(431, too_many("header_bytes", self._head_bytes, limits.header_bytes)))
        elif not self._in_head and self._body_bytes > most_body:
            message = (
                f"the request body takes more than {most_body} bytes on the wire (openai.max_body_bytes); "
                "send it in larger chunks"
            )
            self._answer_refusal(_refusal(413, message))

    def _answer_refusal(self, error: ApiError) -> None:
        """Sends the answer, unless one has begun, and reads on for a while so that the client gets it."""
        self._refusal = error
        self._clear_deadline()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and cycle.response_started:
            self.transport.close()
            return
        self.transport.write(_response(error, self.url))
        if cycle is not None and not cycle.response_complete:  # its application waits for more of the body
            cycle.disconnected = True
            cycle.message_event.set()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
            self._deadline = self.loop.call_later(_LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._on_deadline, seconds)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _on_deadline(self, seconds: float) -> None:
        self._deadline = None
        if self.transport.is_closing():
            return
        if self.flow.read_paused:  # it is not the client who keeps the server waiting
            self._set_deadline(seconds)
        elif self._in_head and not self._head_bytes:
            self.transport.close()
        else:
            part, key = ("headers", "header_timeout_s") if self._in_head else ("body", "body_timeout_s")
            message = f"the {part} did not arrive within {seconds:g} s (openai.{key}); send the request again"
            self._answer_refusal(_refusal(408, message))


def bounded_protocol(settings: ShimSettings) -> type[BoundedProtocol]:
    """The protocol class for uvicorn, with these settings."""
    return type("BoundedProtocol", (BoundedProtocol,), {"settings": settings})


def _refusal(status: int, message: str) -> ApiError:
    return ApiError(
        status, message, code="request_timeout" if status == HTTPStatus.REQUEST_TIMEOUT else "request_too_large"
    )


def _response(error: ApiError, url: bytes) -> bytes:
    path = url.partition(b"?")[0].decode("ascii", "replace")
    body = Json(error.messages_body("") if is_messages_path(path) else error.body).body
    head: dict[str, Any] = {"content-type": "application/json", "content-length": len(body), "connection": "close"}
    lines = [f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}", *(f"{k}: {v}" for k, v in head.items())]
    return "\r\n".join([*lines, "", ""]).encode() + bytes(body)
