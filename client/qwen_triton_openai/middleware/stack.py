"""Order of the middleware, from the outside in: observe, origin, CORS, auth, body limit, drain, rate limit, queue."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from ..settings import MiddlewareSettings
from .access_log import AccessLog
from .auth import KEY_HEADERS, METRICS_PATH, OPEN_PATHS, AuthMiddleware
from .body_limit import BodyLimitMiddleware
from .drain import Drain, DrainMiddleware
from .keys import LIMIT_NAMES, KeyLimits, KeyRing
from .metrics import SharedMetrics, ShimMetrics
from .observe import ObserveMiddleware, Watcher
from .origin import OriginMiddleware
from .queue import GENERATING, QueueMiddleware, Slots, WaitQueue
from .rate_limit import Accounts, KeyAccounts, RateLimitMiddleware
from .tracing import tracing

_OTHER_PATHS = {
    METRICS_PATH,
    "/v1/models",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/detokenize",
    "/tokenizer_info",
    "/version",
    "/load",
}
_ANTHROPIC = ("anthropic-version", "anthropic-beta", "anthropic-dangerous-direct-browser-access")
"""Headers of Anthropic's clients, which change no answer here."""
_EXPOSED = [
    "x-request-id", "request-id", "x-ignored-parameters", "retry-after",
    *(f"x-ratelimit-{a}-{b}" for a in ("limit", "remaining", "reset") for b in ("requests", "tokens")),
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class AllWorkers:
    """What a worker shares with the others on its port: queue and accounts, which another process keeps; the folder where
    all of them count their metrics (prometheus_client's multiprocess mode)."""

    queue: Slots
    accounts: KeyAccounts
    metrics_dir: Path


def install_middleware(
    app: FastAPI, settings: MiddlewareSettings, drain: Drain, shared: AllWorkers | None = None
) -> None:
    """Adds the middleware and the endpoint /metrics. `shared`: None where this process is the only one on its port.

    Raises ConfigurationError for keys that cannot be read or traces that cannot be sent.
    """
    queue: Slots = shared.queue if shared else WaitQueue(settings.max_in_flight, settings.max_queued)
    accounts: KeyAccounts = shared.accounts if shared else Accounts()
    ring = KeyRing(settings.api_keys_file)
    paths = OPEN_PATHS | GENERATING | _OTHER_PATHS
    metrics = SharedMetrics(queue, paths, shared.metrics_dir) if shared else ShimMetrics(queue, paths)
    app.add_route(METRICS_PATH, metrics.respond, include_in_schema=False)
    open_paths = OPEN_PATHS if settings.metrics_need_key else OPEN_PATHS | {METRICS_PATH}
    app.add_middleware(QueueMiddleware, queue=queue, timeout_s=settings.queue_timeout_s)
    app.add_middleware(RateLimitMiddleware, default=default_limits(settings), accounts=accounts)
    app.add_middleware(DrainMiddleware, drain=drain)
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes)
    app.add_middleware(AuthMiddleware, ring=ring, open_paths=open_paths)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", *KEY_HEADERS, "content-type", "x-request-id", *_ANTHROPIC],
            expose_headers=_EXPOSED,
        )
    app.add_middleware(OriginMiddleware, allowed=settings.cors_origins)
    watchers: list[Watcher] = [metrics, tracing(settings.otlp_endpoint)]
    app.add_middleware(ObserveMiddleware, watchers=[*([AccessLog()] if settings.access_log else []), *watchers])


def default_limits(settings: MiddlewareSettings) -> KeyLimits:
    """The limits of each key that has none of its own."""
    return KeyLimits(**{name: getattr(settings, name) for name in LIMIT_NAMES})
