"""Runs tritonserver, as one rank or several: command line, environment, start, readiness and end.

Each run has a prefix for its shared-memory regions, by which its processes are found and its regions removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from qwen_triton.engines.process.loads import remove_leftovers
from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import TENSORRT_LLM

from ..deployment.schema import Server
from ..processes import ChildProcess
from .installation import Installation, find_installation, prepare_backends
from .ranks import check_mpirun, mpirun_command, rank_processes, region_users
from .readiness import answers

_SHM = Path("/dev/shm")
_KILL_AFTER_S = 10.0
_WORKERS_END_S = 3.0
"""How long the other ranks may take to end after rank 0, before they are killed."""


def command_line(
    settings: Server, repository: Path, backends: Path, binary: Path, shm_prefix: str, rank: int = 0
) -> list[str]:
    """tritonserver's arguments for one rank. Rendered configs are complete, so auto-completion is off."""
    return [
        str(binary),
        f"--model-repository={repository}",
        *(["--model-control-mode=explicit", f"--load-model={TENSORRT_LLM}"] if rank else []),
        f"--backend-directory={backends}",
        f"--http-address={settings.host}",
        f"--grpc-address={settings.host}",
        f"--metrics-address={settings.host}",
        f"--grpc-port={settings.grpc_port}",
        f"--http-port={settings.http_port}",
        f"--metrics-port={settings.metrics_port}",
        f"--exit-timeout-secs={settings.exit_timeout_s}",
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}{rank}_",
        *([f"--log-verbose={settings.log_verbose}"] if settings.log_verbose else []),
        *(_trace_flags(settings.otlp_endpoint) if settings.otlp_endpoint else []),
    ]


def _trace_flags(endpoint: str) -> list[str]:
    """Traces every request; a request with a `traceparent` header joins that trace."""
    return [
        "--trace-config=mode=opentelemetry",
        f"--trace-config=opentelemetry,url={endpoint}",
        "--trace-config=level=TIMESTAMPS",
        "--trace-config=rate=1",
    ]


def environment(installation: Installation) -> dict[str, str]:
    """This process's environment with this Python first in PATH, where the stub finds it, and the server's libraries."""
    env = dict(os.environ)
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', '')}"
    libraries = [*map(str, installation.libraries), *filter(None, [env.get("LD_LIBRARY_PATH")])]
    if libraries:
        env["LD_LIBRARY_PATH"] = ":".join(libraries)
    return env


class TritonServer:
    """One tritonserver, or one for each of `ranks`. `work` is an empty folder for what it needs while it runs."""

    def __init__(self, settings: Server, repository: Path, work: Path, ranks: int = 1) -> None:
        self.settings = settings
        self.ranks = ranks
        installation = find_installation(settings.tritonserver)
        backends = prepare_backends(installation, work)
        self._shm_prefix = f"qwen_triton_{os.getpid()}_{time.monotonic_ns():x}_"

        def server(rank: int) -> list[str]:
            return command_line(settings, repository, backends, installation.binary, self._shm_prefix, rank)

        if ranks > 1:
            check_mpirun()
        command = server(0) if ranks == 1 else mpirun_command(ranks, server)
        # A killed mpirun leaves its session folder behind; below `work` it is removed with the rest.
        mpi = {"OMPI_MCA_orte_tmpdir_base": str(work)}
        self._process = ChildProcess(command, environment(installation) | mpi)

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.http_port}"

    @property
    def pid(self) -> int:
        """The process started: tritonserver, or mpirun with several ranks."""
        return self._process.pid

    def start(self, log: int | None = None) -> None:
        """Starts the process; its log goes to the file descriptor `log`, or to that of this process."""
        self._process.start(log)

    def poll(self) -> int | None:
        """The exit code, or None while it runs. With several ranks, mpirun ends when any rank does."""
        return self._process.poll()

    def ready(self) -> bool:
        """Whether every model is loaded."""
        return answers(f"{self.url}/v2/health/ready")

    def wait_ready(self, on_wait: Callable[[float], None] = lambda _: None) -> None:
        """Returns when ready; `on_wait(seconds)` is called meanwhile. Raises ConfigurationError when it will not be."""
        started = time.monotonic()
        while not self.ready():
            waited = time.monotonic() - started
            code = self.poll()
            if code is not None:
                raise ConfigurationError(f"tritonserver ended with code {code} before it was ready; its log says why")
            if waited > self.settings.ready_timeout_s:
                raise ConfigurationError(
                    f"tritonserver was not ready after {waited:.0f} s; its log says what it waits for"
                )
            on_wait(waited)
            time.sleep(0.1)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code once it has ended; None when it still runs after `timeout_s`."""
        return self._process.wait(timeout_s)

    def stop(self) -> int:
        """Ends it gracefully: SIGTERM, `exit_timeout_s` for requests in flight, then SIGKILL. Removes its shared memory."""
        grace_s = self.settings.exit_timeout_s + _KILL_AFTER_S
        if self.ranks > 1 and self.poll() is None:
            self._drain_first_rank(grace_s)
        code = self._process.stop(grace_s)
        self._kill_rest()
        for region in _SHM.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        remove_leftovers()
        return code

    def kill(self) -> None:
        """Kills it at once; `stop()` then removes its shared memory."""
        self._process.kill()
        self._kill_rest()

    def _drain_first_rank(self, grace_s: float) -> None:
        """Ends rank 0, which has the requests, before mpirun, which leaves its ranks only a second after SIGTERM.

        With TensorRT-LLM the other ranks end after rank 0.
        """
        first = rank_processes(self._shm_prefix).get(0)
        if first is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(first, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and 0 in rank_processes(self._shm_prefix):
            time.sleep(0.05)
        self._process.wait(_WORKERS_END_S)

    def _kill_rest(self) -> None:
        """Kills ranks, which mpirun starts in their own sessions, and stubs, which may hang when their server was killed."""
        for pid in region_users(self._shm_prefix):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
