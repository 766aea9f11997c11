"""Puts the gates before an application. From the outside in: observe, CORS, auth, body, drain, limits, queue."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse

from ..settings import GateSettings
from .access_log import AccessLog
from .auth import METRICS_PATH, OPEN_PATHS, AuthGate
from .body_limit import BodyGate
from .drain import Drain, DrainGate
from .keys import LIMIT_NAMES, KeyRing, Limits
from .metrics import ShimMetrics
from .observe import ObserveGate, Watcher
from .queue import GENERATING, QueueGate, WaitQueue
from .rate_limit import LimitGate
from .tracing import tracing

_PAGE = Path(__file__).with_name("chat_page.html")
_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_OTHER_PATHS = {METRICS_PATH, "/v1/models", "/tokenize", "/detokenize"}
_EXPOSED = [
    "x-request-id", "retry-after",
    *(f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in ("requests", "tokens")),
]  # fmt: skip


def install_gates(app: FastAPI, settings: GateSettings, drain: Drain) -> None:
    """The gates, /metrics and the chat page. Raises ConfigurationError for keys or traces that cannot be had."""
    queue = WaitQueue(settings.max_in_flight, settings.max_queued)
    ring = KeyRing(settings.api_keys_file)
    metrics = ShimMetrics(queue, OPEN_PATHS | GENERATING | _OTHER_PATHS)
    app.add_route(METRICS_PATH, metrics.respond, include_in_schema=False)
    if settings.chat_page:
        app.add_route("/", _page, include_in_schema=False)
    open_paths = OPEN_PATHS if settings.metrics_need_key else OPEN_PATHS | {METRICS_PATH}
    limits = Limits(**{name: getattr(settings, name) for name in LIMIT_NAMES})
    app.add_middleware(QueueGate, queue=queue, timeout_s=settings.queue_timeout_s)
    app.add_middleware(LimitGate, default=limits)
    app.add_middleware(DrainGate, drain=drain)
    app.add_middleware(BodyGate, max_bytes=settings.max_body_bytes)
    app.add_middleware(AuthGate, ring=ring, open_paths=open_paths)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=_EXPOSED,
        )
    watchers: list[Watcher] = [metrics, tracing(settings.otlp_endpoint)]
    app.add_middleware(ObserveGate, watchers=[*([AccessLog()] if settings.access_log else []), *watchers])


async def _page(_request: object) -> FileResponse:
    headers = {
        "content-security-policy": _PAGE_POLICY,
        "x-content-type-options": "nosniff",
        "cache-control": "no-cache",
    }
    return FileResponse(_PAGE, media_type="text/html; charset=utf-8", headers=headers)
