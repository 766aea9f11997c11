"""Outermost middleware: gives each request an id and a record, which metrics, access log and traces read."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qwen_triton.tensors.text_outputs import TextPiece

from ..answers.usage import UsageCount
from ..backend.generation import Way
from ..errors import CLIENT_CLOSED_REQUEST, ApiError, is_messages_path

_SLASHES = re.compile("//+")
CLIENTS_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
"""What a client may send as X-Request-Id; a request with anything else gets an id of the server's."""
_log = logging.getLogger(__name__)

NO_KEY = "-"
"""The key's name of a request without a valid key."""
_LONGEST_LIST = 1024
"""Characters of a header that lists names; a longer one is cut."""


class Watcher(Protocol):
    """Accompanies every request: metrics, access log or traces."""

    def watch(self, record: RequestRecord, scope: Scope) -> Callable[[], None] | None:
        """Called before the request is handled; returns what is called when its response has ended, if anything.

        An exception that ends the request is on its way then (`sys.exc_info`).
        """


class ObserveMiddleware:
    """Puts `record`, `observer`, `request_id` and `send_body` into the scope and echoes X-Request-Id.

    Paths lose their surplus slashes here, so that all behind it, keys and limits included, sees one spelling.
    Answers 500 for an unexpected exception here, outside the framework, so that this response has the id too.
    """

    def __init__(self, app: ASGIApp, watchers: Sequence[Watcher]) -> None:
        self._app = app
        self._watchers = watchers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope["path"] = canonical_path(scope["path"])
        record = _open_record(scope)
        scope["record"] = scope["observer"] = record
        scope["request_id"] = record.request_id
        scope["send_body"] = send
        ends: list[Callable[[], None]] = []
        try:
            for watcher in self._watchers:
                if (end := watcher.watch(record, scope)) is not None:
                    ends.append(end)
            await self._answer(scope, receive, _RecordedSend(send, record))
        finally:
            del scope["send_body"]  # a cycle: the server's `send` has the scope
            while ends:
                ends.pop()()

    async def _answer(self, scope: Scope, receive: Receive, recorded: _RecordedSend) -> None:
        try:
            await self._app(scope, receive, recorded)
        except Exception as error:
            record = scope["record"]
            _log.error("request %s: %s %s failed", record.request_id, record.method, record.path, exc_info=error)
            if record.status:
                raise
            failure = ApiError(500, f"internal error; the server's log has the cause under {record.request_id}")
            await failure.response()(scope, receive, recorded)
        finally:
            recorded.end()


class _RecordedSend:
    """`send` that records the status and adds the headers X-Request-Id (Anthropic's clients read Request-Id) and
    X-Ignored-Parameters."""

    def __init__(self, send: Send, record: RequestRecord) -> None:
        self._send = send
        self._record = record

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._record.status = message["status"]
            request_id = self._record.request_id.encode("latin-1")
            headers = [*message["headers"], (b"x-request-id", request_id)]
            if is_messages_path(self._record.path):
                headers.append((b"request-id", request_id))
            if self._record.ignored:
                headers.append((b"x-ignored-parameters", header_list(self._record.ignored).encode("latin-1")))
            message["headers"] = headers
        await self._send(message)

    def end(self) -> None:
        """Records 499 for a request without a response: its client has disconnected."""
        self._record.status = self._record.status or CLIENT_CLOSED_REQUEST


def _open_record(scope: Scope) -> RequestRecord:
    given = Headers(scope=scope).get("x-request-id", "")
    request_id = given if CLIENTS_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
    client = scope.get("client")
    return RequestRecord(request_id, scope["method"], scope["path"], client[0] if client else "")


def canonical_path(path: str) -> str:
    """A path without the surplus slashes that clients send for a base URL with a slash at its end."""
    return _SLASHES.sub("/", path).rstrip("/") or "/"


def header_list(names: Sequence[str]) -> str:
    """Names that a client chose as one header value: separated by commas, percent-encoded, cut at a length."""
    text = ", ".join(quote(name, safe="") for name in names)
    return text if len(text) <= _LONGEST_LIST else text[:_LONGEST_LIST] + "..."


def elapsed_s(record: RequestRecord) -> float:
    return time.monotonic() - record.started


class RequestRecord:
    """Facts of one request, collected while it runs; an Observer of its answer. Times are monotonic seconds.

    `model` is empty until it is known to be served here; then `on_model` is called. `on_gap` gets the seconds between
    two pieces of a stream. `ignored`: names of parameters that were not heeded. `ways`: how each of its requests went to the
    model.
    """

    __slots__ = (
        "_count",
        "_ended",
        "client",
        "first_at",
        "ignored",
        "key_name",
        "last_at",
        "method",
        "model",
        "on_gap",
        "on_model",
        "path",
        "piece_count",
        "queued_s",
        "request_id",
        "started",
        "status",
        "streamed",
        "ways",
    )  # fmt: skip

    def __init__(self, request_id: str, method: str, path: str, client: str = "") -> None:
        self.request_id = request_id
        self.method = method
        self.path = path
        self.client = client
        self.started = time.monotonic()
        self.key_name = NO_KEY
        self.model = ""
        self.streamed = False
        self.status = 0
        self.queued_s = 0.0
        self.ignored: Sequence[str] = ()
        self.ways: list[Way] = []
        self.first_at: float | None = None
        self.last_at = 0.0
        self.piece_count = 0
        self.on_model: Callable[[RequestRecord], None] | None = None
        self.on_gap: Callable[[float], None] | None = None
        self._count: UsageCount | None = None
        self._ended = False

    def on_request(self, model: str, streamed: bool, n: int) -> None:
        self.model = model
        self.streamed = streamed
        self._count = UsageCount(n)
        if self.on_model is not None:
            self.on_model(self)

    def on_pieces(self, pieces: Sequence[TextPiece]) -> None:
        if not pieces:
            return
        now = time.monotonic()
        if self.first_at is None:
            self.first_at = now
        elif self.on_gap is not None:
            self.on_gap(now - self.last_at)
        self.last_at = now
        for piece in pieces:
            self.piece_count += piece.merged
            self._ended = self._ended or piece.finish is not None
            if piece.usage is not None and self._count is not None:
                self._count.add(piece)

    @property
    def prompt_tokens(self) -> int:
        return self._count.prompt_tokens if self._count else 0

    @property
    def completion_tokens(self) -> int:
        """The model's count. For an answer that was cut off, the engine's pieces received: each is at least one token."""
        counted = self._count.completion_tokens if self._count else 0
        return counted if counted and self._ended else max(counted, self.piece_count)

    @property
    def cached_tokens(self) -> int:
        return self._count.cached_tokens if self._count else 0
