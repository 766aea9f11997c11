"""The shim as a process: uvicorn on uvloop, until a signal has it leave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Iterator

import uvicorn

from .app import create_app
from .backend.grpc_pool import host_port
from .service import Shim
from .settings import ShimSettings, check_certificate

_COLLECTIONS = (20_000, 5, 2)
"""Objects that are allocated and not freed before the young ones are looked through, and how often that is before older
ones are. Python's own are 700, 10 and 10."""


class _Server(uvicorn.Server):
    """A uvicorn that goes on serving until the shim has drained: SIGTERM or SIGINT once to leave, twice to drop all."""

    def __init__(self, config: uvicorn.Config, settings: ShimSettings) -> None:
        super().__init__(config)
        self._settings = settings
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._on_signal)
        yield

    def _on_signal(self) -> None:
        if self._leaving is None and self.started:
            self._leaving = asyncio.get_running_loop().create_task(self._leave())
        else:
            self.should_exit = self.force_exit = True

    async def _leave(self) -> None:
        shim = self.config.app.state.shim  # type: ignore[union-attr]  # uvicorn takes other kinds of application too
        assert isinstance(shim, Shim)
        await shim.drain.leave(self._settings.drain_notice_s, self._settings.drain_s)
        self.should_exit = True


def serve(settings: ShimSettings) -> int:
    """Serves until a signal; 0 after an orderly end, 1 when it could not start. Raises ConfigurationError."""
    check_certificate(settings)
    host_port(settings.triton_url)
    config = uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http="httptools",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    server = _Server(config, settings)
    _settle_garbage()
    server.run()
    return 0 if server.started else 1


def _settle_garbage() -> None:
    """Leaves out of every collection what lives as long as the process, and collects less often: pieces and events are
    tuples by the thousand that reference counts free, and looking for cycles among them took a tenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
