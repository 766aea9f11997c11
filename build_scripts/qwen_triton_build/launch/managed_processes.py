"""The processes that `serve` manages: tritonserver with its engine, and the OpenAI shim, each with its log.

Both are a `ManagedProcess` of the launcher. Knows no policy of restarts.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ..processes import ChildProcess
from .log import ServerLog
from .readiness import answers
from .tritonserver import TritonServer

SHIM_PACKAGES = ("fastapi", "uvicorn", "prometheus_client")
_KILL_AFTER_S = 5.0


@dataclass
class ManagedTriton:
    """tritonserver: all of its ranks, and the engine process that its models start."""

    server: TritonServer
    log: ServerLog

    @property
    def name(self) -> str:
        return "tritonserver" if self.server.ranks == 1 else f"tritonserver ({self.server.ranks} ranks under mpirun)"

    def start(self) -> None:
        self.server.start(self.log.open())

    def ready(self) -> bool:
        return self.server.ready()

    def poll(self) -> int | None:
        return self.server.poll()

    def stop(self) -> None:
        self.server.stop()

    def kill(self) -> None:
        self.server.kill()

    def last_lines(self) -> list[str]:
        return [*self.log.last_lines(), *filter(None, [self.server.killed_because])]


class ManagedShim:
    """The OpenAI shim in front of a tritonserver.

    `checkpoint`: the model's folder; `drain_s`: how long accepted requests may take after SIGTERM.
    """

    name = "the OpenAI shim"

    def __init__(
        self, deployment: Path, triton: str, checkpoint: Path, url: str, drain_s: float, log: ServerLog
    ) -> None:
        shim = [sys.executable, "-m", "qwen_triton_build.cli", "shim", str(deployment)]
        command = [*shim, "--triton-url", triton, "--tokenizer-dir", str(checkpoint)]
        self.url = url
        self._process = ChildProcess(command, os.environ)
        self._drain_s = drain_s
        self._log = log

    def start(self) -> None:
        self._process.start(self._log.open())

    def ready(self) -> bool:
        return answers(f"{self.url}/health/ready")

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        self._process.stop(self._drain_s + _KILL_AFTER_S)

    def kill(self) -> None:
        self._process.kill()

    def last_lines(self) -> list[str]:
        return self._log.last_lines()


def missing_shim_packages() -> list[str]:
    """Packages of the extra `shim` that are not installed, by their import names."""
    return [name for name in SHIM_PACKAGES if find_spec(name) is None]
