"""The ASGI application: endpoints, error handlers and middleware put together.

Keys of the ASGI scope that middleware sets for the endpoints:
    request_id        the id under which Triton logs the request
    triton_metadata   gRPC metadata for Triton, such as traceparent
    observer          an answers.observer.Observer of the answer
    add_sequences     counts the sequences of a request against the limits of its key (a coroutine function)
    admission         the request's slots, queue.SlotClaim
    send_body         the server's own `send`: a stream's chunks bypass the middleware, which only reads headers
The key that an endpoint sets for the middleware once it has read the body:
    caller_notes      `user` and `metadata` of the request, as far as given
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from . import errors
from .backend.local_triton import LocalTriton
from .backend.triton import Backend, GrpcTriton
from .endpoints import chat, completions, health, messages, models, responses, server_info, tokenization
from .endpoints.chat_page import add_chat_page
from .endpoints.direct import DirectEndpoints, Endpoint
from .endpoints.head import HeadMiddleware
from .endpoints.openapi import add_document
from .middleware.drain import Drain
from .middleware.observe import ObserveMiddleware
from .middleware.stack import AllWorkers, install_middleware
from .service import Service
from .settings import ShimSettings


class Api(FastAPI):
    """The framework without the layers that it puts around all middleware: ObserveMiddleware answers unexpected errors, and
    tracing and the limit of bodies are middleware here."""

    def build_middleware_stack(self) -> ASGIApp:
        layer: Any = super().build_middleware_stack()
        while not isinstance(layer, ObserveMiddleware):
            layer = layer.app
        return layer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Without the framework's own telemetry, which is looked for at each request."""
        if scope["type"] == "lifespan" or self.middleware_stack is None:
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        await self.middleware_stack(scope, receive, send)


GENERATE: dict[str, Endpoint] = {
    "/v1/chat/completions": chat.create_chat_completion,
    "/v1/completions": completions.create_completion,
    "/v1/messages": messages.create_message,
    "/v1/responses": responses.create_response,
}
"""The endpoints that generate (middleware.queue.GENERATING)."""


def create_app(
    settings: ShimSettings,
    connect: Callable[[str], Backend] | None = None,
    drain: Drain | None = None,
    shared: AllWorkers | None = None,
) -> FastAPI:
    """Builds the application. `connect` makes the backend for a URL, within the event loop; None: as the settings say. `drain`
    and `shared` are those of a worker, None where this process is the only one on its port.

    Raises ConfigurationError for keys that cannot be read or traces that cannot be sent.
    """
    drain = drain or Drain()
    connect = connect or (LocalTriton if settings.local_sockets else GrpcTriton)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        backend = connect(settings.triton_url)
        app.state.service = Service(settings, backend, drain)
        yield
        await backend.close()

    app = Api(title="qwen-triton", summary="Qwen on Triton, as OpenAI's clients expect it.", lifespan=lifespan)
    errors.install(app)
    for module in (chat, completions, responses, messages, models, tokenization, health, server_info):
        app.include_router(module.router)
    add_document(app)
    if settings.chat_page:
        add_chat_page(app)
    app.add_middleware(DirectEndpoints, endpoints=GENERATE)
    app.add_middleware(HeadMiddleware)
    install_middleware(app, settings, drain, shared)
    return app
