"""tritonserver as a child: its command line, its environment, its start, readiness and end.

The server runs in a session of its own, so that Ctrl-C reaches us and we end it in order; it ends with us however we
end. Its shared-memory regions have a prefix of their own and are removed after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from .deployment import Server
from .installation import Installation, find_installation, prepare_backends

_PR_SET_PDEATHSIG = 1
_SHM = Path("/dev/shm")
_KILL_AFTER_S = 10.0


def command_line(settings: Server, repository: Path, backends: Path, binary: Path, shm_prefix: str) -> list[str]:
    """tritonserver's arguments for one rank. The configs are complete, so it must not complete them."""
    return [
        str(binary),
        f"--model-repository={repository}",
        f"--backend-directory={backends}",
        f"--http-address={settings.host}",
        f"--http-port={settings.http_port}",
        f"--grpc-address={settings.host}",
        f"--grpc-port={settings.grpc_port}",
        f"--metrics-address={settings.host}",
        f"--metrics-port={settings.metrics_port}",
        f"--exit-timeout-secs={settings.exit_timeout_s}",
        "--disable-auto-complete-config",
        "--strict-readiness=true",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        *([f"--log-verbose={settings.log_verbose}"] if settings.log_verbose else []),
    ]


def environment(installation: Installation) -> dict[str, str]:
    """This Python first in PATH (the stub takes its environment from there), and the server's libraries."""
    env = dict(os.environ)
    env["PATH"] = f"{Path(sys.executable).parent}:{env.get('PATH', '')}"
    libraries = [*map(str, installation.libraries), *filter(None, [env.get("LD_LIBRARY_PATH")])]
    if libraries:
        env["LD_LIBRARY_PATH"] = ":".join(libraries)
    return env


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class TritonServer:
    """One tritonserver process. `work` is an empty folder for what it needs while it runs."""

    def __init__(self, settings: Server, repository: Path, work: Path) -> None:
        self.settings = settings
        installation = find_installation(settings.tritonserver)
        backends = prepare_backends(installation, work)
        self._shm_prefix = f"qwen_triton_{os.getpid()}_{time.monotonic_ns():x}_"
        self._command = command_line(settings, repository, backends, installation.binary, self._shm_prefix)
        self._environment = environment(installation)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.settings.host}:{self.settings.http_port}"

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def start(self, log: int | None = None) -> None:
        """Starts the process; its log goes to the file descriptor `log`, or to ours."""
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return None if self._process is None else self._process.poll()

    def ready(self) -> bool:
        """Whether every model is loaded and answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/v2/health/ready", timeout=2) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False

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
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def stop(self) -> int:
        """Ends it in order: SIGTERM, requests in flight finish within exit_timeout_s, then SIGKILL. Leaves nothing."""
        if self._process is None:
            return 0
        self._process.terminate()
        if self.wait(self.settings.exit_timeout_s + _KILL_AFTER_S) is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for region in _SHM.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        return self._process.returncode
