"""The application: endpoints, errors, middlewares.

A middleware may leave for the endpoints, in the ASGI scope:
    request_id        what Triton logs the request as
    triton_metadata   gRPC metadata that goes along, such as traceparent
    observer          an observer.Observer of what is generated
    send_body         the server's own `send`: what follows a stream's headers goes there, past all middlewares
and finds there, when the endpoint has read the body:
    caller_notes      `user` and `metadata`, as far as they were given
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI

from . import errors
from .backend.triton import Backend, GrpcTriton
from .endpoints import chat, completions, health, models, tokenization
from .endpoints.openapi import add_document
from .middleware.drain import Drain
from .middleware.stack import install_gates
from .service import Shim
from .settings import ShimSettings


def create_app(settings: ShimSettings, connect: Callable[[str], Backend] = GrpcTriton) -> FastAPI:
    """The shim as an ASGI application. `connect` makes the way to the server at a URL; it is called in the loop."""

    drain = Drain()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        backend = connect(settings.triton_url)
        app.state.shim = Shim(settings, backend, drain)
        yield
        await backend.close()

    app = FastAPI(title="qwen-triton", summary="Qwen on Triton, as OpenAI's clients expect it.", lifespan=lifespan)
    errors.install(app)
    for module in (chat, completions, models, tokenization, health):
        app.include_router(module.router)
    add_document(app)
    install_gates(app, settings, drain)
    return app
