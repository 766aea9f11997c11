"""Refuses what other sites' pages send: a browser names the page's origin in every POST, and a page cannot change that.

A page can send a POST with a plain text body to any address that its reader's machine reaches, this server's too. It
cannot read the answer without CORS, but the work would be done.
"""

from __future__ import annotations

from collections.abc import Collection

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import ApiError

_HARMLESS = frozenset(("GET", "HEAD", "OPTIONS"))
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_SHOWN = 100
"""Characters of a refused origin that the error repeats."""


class OriginMiddleware:
    """Answers 403 to a POST whose `Origin` is neither this server's own nor one of `allowed` («*» = any).

    Its own is the one whose host and port the request is sent to, whatever the scheme: a proxy in front may do the TLS.
    Requests without an `Origin` come from no page.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _HARMLESS and "*" not in self._allowed:
            headers = Headers(scope=scope)
            hosts = headers.getlist("host")
            for origin in headers.getlist("origin"):
                if origin not in self._allowed and not (len(hosts) == 1 and is_same_host(origin, hosts[0])):
                    await _refusal(origin).response()(scope, receive, send)
                    return
        await self._app(scope, receive, send)


def is_same_host(origin: str, host: str) -> bool:
    """Whether an `Origin` header names the host and port of a `Host` header; the scheme's default port may be left out."""
    scheme, _, authority = origin.lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and authority.removesuffix(port) == host.lower().removesuffix(port) != ""


def _refusal(origin: str) -> ApiError:
    shown = origin if len(origin) <= _SHOWN else origin[:_SHOWN] + "…"
    message = (
        f"Pages of {shown!r} may not send requests to this server; its operator can add them to openai.cors_origins"
    )
    return ApiError(403, message, code="origin_not_allowed", headers={"Connection": "close"})
