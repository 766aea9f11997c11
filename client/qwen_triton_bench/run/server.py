"""Servers for the time of a run: a deployment's Triton, and a shim, each on free ports of this machine."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.checkpoint_names import resolve_model
from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.launch.log import ServerLog
from qwen_triton_build.launch.preflight import check_machine
from qwen_triton_build.launch.ranks import ranks
from qwen_triton_build.launch.tritonserver import TritonServer
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render

_HOST = "127.0.0.1"
_READY_S = 60.0
_END_S = 10.0


@dataclass(frozen=True)
class RunningServer:
    """A Triton that is ready: HOST:PORT of its HTTP, gRPC and metrics endpoints, and its process id."""

    http: str
    grpc: str
    metrics: str
    pid: int

    def url(self, protocol: str) -> str:
        return self.http if protocol == "http" else self.grpc


@contextmanager
def running_server(deployment: Deployment, repository: Path | None = None) -> Iterator[RunningServer]:
    """Serves the deployment until the block ends; `repository`: another folder, served with its settings instead.

    Raises ConfigurationError with the log's last lines when it does not become ready.
    """
    ports = dict(zip(("http_port", "grpc_port", "metrics_port"), free_ports(3), strict=True))
    settings = deployment.server.model_copy(update={"host": _HOST, **ports})
    check_machine()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen-triton-")))
        if repository is None:
            repository = render(placeholders(deployment, resolve_model(deployment)), work / "repository")
        log = ServerLog(str(work / "tritonserver.log"))
        stack.callback(log.close)
        server = TritonServer(settings, repository.resolve(), work, ranks(deployment))
        stack.callback(server.stop)
        server.start(log.open())
        try:
            server.wait_ready()
        except ConfigurationError as error:
            raise ConfigurationError("\n".join([*log.error_lines(), str(error)])) from None
        http, grpc, metrics = (f"{_HOST}:{port}" for port in ports.values())
        yield RunningServer(http, grpc, metrics, server.pid)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind((_HOST, 0))
        return [s.getsockname()[1] for s in sockets]


@contextmanager
def running_shim(triton: str, workers: int | str = "auto") -> Iterator[tuple[str, int]]:
    """A shim of so many workers in front of the Triton at this HOST:PORT of gRPC: its URL and process id.

    Raises ConfigurationError when it does not become ready.
    """
    port = free_ports(1)[0]
    flags = ["--triton-url", triton, "--host", _HOST, "--port", str(port), "--workers", str(workers)]
    url = f"http://{_HOST}:{port}"
    with tempfile.TemporaryFile() as log:
        shim = subprocess.Popen(
            [sys.executable, "-m", "qwen_triton_build.cli", "shim", *flags], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            _wait_ready(shim, f"{url}/health/ready", log)
            yield url, shim.pid
        finally:
            shim.terminate()
            try:
                shim.wait(_END_S)
            except subprocess.TimeoutExpired:
                shim.kill()
                shim.wait()


def _wait_ready(process: subprocess.Popen[bytes], url: str, log: IO[bytes]) -> None:
    deadline = time.monotonic() + _READY_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as reply:
            if reply.status == 200:
                return
        time.sleep(0.05)
    log.seek(0)
    lines = log.read().decode("utf-8", "replace").strip().splitlines()[-3:]
    raise ConfigurationError("\n".join([*lines, "the shim did not come up"]))
