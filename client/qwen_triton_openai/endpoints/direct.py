"""The endpoints that generate, called without the framework's routing: it costs as much as the request's own work.

The framework keeps their routes too: for the OpenAPI document, and for methods other than POST.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import known_response

Endpoint = Callable[[Request], Awaitable[Response]]


class DirectEndpoints:
    """The innermost middleware: a POST to a path of `endpoints` is answered by its endpoint, all else by the framework."""

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        direct = scope["type"] == "http" and scope["method"] == "POST"
        endpoint = self._endpoints.get(scope["path"]) if direct else None
        if endpoint is None:
            await self._app(scope, receive, send)
            return
        response: Response | None
        try:
            response = await endpoint(Request(scope, receive, send))
        except Exception as error:
            response = known_response(error)
            if response is None:
                raise
        await response(scope, receive, send)
