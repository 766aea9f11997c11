"""Authentication by API key: `Authorization: Bearer KEY` as OpenAI has it, else `x-api-key` or `api-key`."""

from __future__ import annotations

from collections.abc import Set

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError
from .keys import KeyRing

OPEN_PATHS = frozenset(
    ("/", "/health", "/health/ready", "/ping", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
)
METRICS_PATH = "/metrics"
KEY_HEADERS = ("x-api-key", "api-key")
"""Where clients of Anthropic's and of Azure's API send the key."""
_REMEDY = "send it as `Authorization: Bearer KEY`; whoever runs this server makes one with `qwen-triton key NAME`"


class AuthMiddleware:
    """Answers 401 without a valid key, else puts the key into the scope as `api_key`. `open_paths` need no key."""

    def __init__(self, app: ASGIApp, ring: KeyRing, open_paths: Set[str] = OPEN_PATHS) -> None:
        self._app = app
        self._ring = ring
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._ring.required and scope["path"] not in self._open_paths:
            refusal = self._refusal(scope)
            if refusal is not None:
                await refusal.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        secret = _secret(Headers(scope=scope))
        if not secret:
            return _unauthorized(f"You didn't provide an API key; {_REMEDY}")
        key = self._ring.find(secret)
        if key is None:
            return _unauthorized(f"Incorrect API key provided; {_REMEDY}")
        scope["api_key"] = key
        scope["record"].key_name = key.name
        return None


def _secret(headers: Headers) -> str:
    """The key of a request; empty if it has none. `Authorization` goes before the others, if it is there at all."""
    if (given := headers.get("authorization")) is None:
        return next((key for name in KEY_HEADERS if (key := headers.get(name, "").strip())), "")
    scheme, _, secret = given.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _unauthorized(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
