"""A process that serves: uvicorn on uvloop, from the start to the drain after a signal."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
from collections.abc import Iterator

import uvicorn
from fastapi import FastAPI

from qwen_triton.engines.process.log_lines import start_logging

from ..app import create_app
from ..backend.grpc_pool import host_port
from ..service import Service
from ..settings import ShimSettings, check_certificate
from .http_protocol import bounded_protocol
from .main_process import serve_with_workers

_LINGER_S = 0.25
"""After the drain, connections that are still open: a client that sends its next request now is refused, not cut off."""
LOG_FORMAT = "qwen-triton shim: %(message)s"
"""Of the lines that are not the access log's."""
_COLLECTIONS = (20_000, 5, 2)
"""Thresholds of the garbage collector (`gc.set_threshold`); Python's defaults are 700, 10 and 10."""


class DrainingServer(uvicorn.Server):
    """Drains after the first SIGTERM, SIGINT or SIGHUP before it stops; a second signal stops it at once."""

    def __init__(self, app: FastAPI, settings: ShimSettings) -> None:
        super().__init__(_config(app, settings))
        self._settings = settings
        self._draining: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(name, self._on_signal)
        yield

    def _on_signal(self) -> None:
        if self._draining is None:
            self.begin_drain()
        else:
            self.stop_now()

    def begin_drain(self) -> None:
        """Stops once accepted requests have ended; a server that has not started, at once."""
        if not self.started:
            self.should_exit = True
        elif self._draining is None:
            self._draining = asyncio.get_running_loop().create_task(self._drain())

    def stop_now(self) -> None:
        """Stops without regard for requests."""
        self.should_exit = self.force_exit = True

    async def _drain(self) -> None:
        service = self.config.app.state.service  # type: ignore[union-attr]  # uvicorn takes other kinds of application too
        assert isinstance(service, Service)
        await service.drain.leave(self._settings.drain_notice_s, self._settings.drain_s)
        if self.server_state.connections:
            await asyncio.sleep(_LINGER_S)
        self.should_exit = True


def serve(settings: ShimSettings) -> int:
    """Serves until a signal. Returns the exit code: 0 after the drain, 1 when the server could not start.

    Raises ConfigurationError for settings that cannot be used.
    """
    check_certificate(settings)
    host_port(settings.triton_url)
    start_logging(LOG_FORMAT)
    workers = settings.worker_count
    if workers > 1:
        return serve_with_workers(settings, workers)
    server = DrainingServer(create_app(settings), settings)
    tune_garbage_collector()
    server.run()
    return 0 if server.started else 1


def _config(app: FastAPI, settings: ShimSettings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=bounded_protocol(settings),
        ws="none",
        lifespan="on",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=1,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )


def tune_garbage_collector() -> None:
    """Excludes objects that live as long as the process from garbage collection, and collects less often.

    A stream's pieces and events are short-lived tuples without cycles: reference counts free them, and searching them
    for cycles is wasted processor time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)
