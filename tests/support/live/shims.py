"""Starts the shim as a process in front of a live server: on a free port, stopped by SIGTERM, its exit code checked."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.live.servers import LiveServer, free_ports

MODEL = "qwen-live"
READY_S = 60.0
END_S = 30.0
_ANY_CERTIFICATE = ssl._create_unverified_context()
"""Readiness is asked of a shim whose certificate a test made itself."""


@dataclass(frozen=True)
class LiveShim:
    """A shim that is ready."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def v1(self) -> str:
        return f"{self.url}/v1"

    def terminate(self) -> None:
        """Asks it to leave, as a launcher does."""
        self.process.send_signal(signal.SIGTERM)


@contextmanager
def shimming(
    server: LiveServer, folder: Path, settings: dict[str, Any] | None = None, flags: Sequence[str] = ()
) -> Iterator[LiveShim]:
    """A shim for `server`; `settings` is the key `openai` of its deployment. It must end with code 0."""
    (port,) = free_ports(1)
    deployment = yaml.safe_load((folder_of(server) / "deployment.yaml").read_text())
    deployment |= {"served_model_name": MODEL, "openai": {**(settings or {}), "port": port}}
    file = folder / "shim.yaml"
    file.write_text(yaml.safe_dump(deployment, allow_unicode=True))
    log = folder / "shim.log"
    command = [sys.executable, "-m", "qwen_triton_build.cli", "shim", str(file), *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment())
    scheme = "https" if settings and "tls_certificate" in settings else "http"
    shim = LiveShim(f"{scheme}://127.0.0.1:{port}", process, log)
    try:
        wait_ready(shim)
        yield shim
        if process.poll() is None:
            shim.terminate()
        assert process.wait(END_S) == 0, log.read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def environment() -> dict[str, str]:
    """Ours without the ports that a developer may have set."""
    return {key: value for key, value in os.environ.items() if not key.endswith("_PORT")}


def folder_of(server: LiveServer) -> Path:
    """Where the server's deployment and log are."""
    return server.log.parent


def status(url: str) -> int:
    """The HTTP status of a GET; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=END_S, context=_ANY_CERTIFICATE) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def wait_ready(shim: LiveShim) -> None:
    """Returns when it is ready; fails the test with its log when it does not come to be."""
    until = time.monotonic() + READY_S
    while status(f"{shim.url}/health/ready") != 200:
        if shim.process.poll() is not None or time.monotonic() > until:
            pytest.fail(f"the shim is not ready: {shim.log.read_text()}")
        time.sleep(0.1)
