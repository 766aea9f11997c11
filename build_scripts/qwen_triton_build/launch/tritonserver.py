"""Runs tritonserver, as one rank or several: command line, environment, start, readiness and end.

Each run has a prefix for its shared-memory regions, by which its processes are found and its regions removed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from qwen_triton.engines.process.loads import remove_leftovers
from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve import server_key
from qwen_triton.serving.local.lifeline import VARIABLE, LifelineServer
from qwen_triton.tensors.contract import BLS, PREPROCESSING, TENSORRT_LLM

from ..deployment.schema import Server
from ..processes import ChildProcess
from .closed_apis import closing_flags, key_flags, read_key
from .crash_watch import CrashWatch
from .installation import Installation, find_installation, prepare_backends
from .process_arguments import hide_argument
from .ranks import check_mpirun, mpirun_command, rank_processes, region_users
from .readiness import answers

_SHM = Path("/dev/shm")
_VISIBLE = (
    "server.api_key_file: this kernel does not let the key be hidden in the server's command line, so every user of this "
    "machine can read it there; set kernel.yama.ptrace_scope to 1"
)
_KILL_AFTER_S = 10.0
_POLL_S = 0.05
_BETWEEN_MODELS_S = 0.5
"""How long a request of the ensemble may take from preprocessing to the engine's model."""
_UNLOAD_S = 3.0
"""How long a server that has answered everything may take to unload its models, without the time of their processes: about a
second, because it looks once a second whether they have gone. tritonserver 2.51 does not unload a model for which a gRPC
stream was cancelled while its last response was written, and waits for its whole exit timeout."""
_UNLOAD_PROCESS_S = 1.5
"""How much longer for each process of the model that has the most: a model's processes end one after the other, and before each
one tritonserver sleeps a second to see whether it lives."""
_WORKERS_END_S = 3.0
"""How long the other ranks may take to end after rank 0, before they are killed."""


_STACK_BYTES = 256 << 20
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")


def _stack_bytes() -> int:
    """The stack of each thread of tritonserver; 0 = as it is, where the machine commits memory before it is used.

    Its HTTP server keeps bodies, their chunks and their nesting on the stack: with the usual 8 MiB a body of 7 MB, a million
    chunks of one byte or a million brackets end tritonserver 2.51 (SIGSEGV). A stack takes memory only as it is used.
    """
    strict = _OVERCOMMIT.is_file() and _OVERCOMMIT.read_text().strip() == "2"
    return 0 if strict else _STACK_BYTES


def command_line(
    settings: Server, repository: Path, backends: Path, binary: Path, shm_prefix: str, rank: int = 0
) -> list[str]:
    """tritonserver's arguments for one rank. Rendered configs are complete, so auto-completion is off."""
    return [
        str(binary),
        f"--model-repository={repository}",
        *(["--model-control-mode=explicit", f"--load-model={TENSORRT_LLM}"] if rank else []),
        f"--backend-directory={backends}",
        f"--http-address={settings.host_of('http')}",
        f"--grpc-address={settings.host_of('grpc')}",
        f"--metrics-address={settings.host_of('metrics')}",
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

        closed = closing_flags(settings.open_apis)
        self._key = read_key(settings)
        if self._key is not None:
            closed += key_flags(settings.open_apis, self._key)

        def server(rank: int) -> list[str]:
            return [*command_line(settings, repository, backends, installation.binary, self._shm_prefix, rank), *closed]

        if ranks > 1:
            check_mpirun()
        command = server(0) if ranks == 1 else mpirun_command(ranks, server)
        # A killed mpirun leaves its session folder behind; below `work` it is removed with the rest.
        mpi = {"OMPI_MCA_orte_tmpdir_base": str(work)}
        self.killed_because = ""
        """Why `poll` killed it; empty when it did not."""
        self.not_ended: set[str] = set()
        """Models whose processes were told to end and had not when `stop` killed the server."""
        self._lifelines = LifelineServer()
        self._crash_watch = CrashWatch(self._servers)
        lifeline = {VARIABLE: self._lifelines.address}
        key = {} if self._key is None else {server_key.VARIABLE: self._key}
        self._process = ChildProcess(
            command, environment(installation) | mpi | lifeline | key, stack_bytes=_stack_bytes()
        )
        self._hidden = True
        self._drained = False

    @property
    def url(self) -> str:
        return f"http://{self.settings.host_of('http')}:{self.settings.http_port}"

    @property
    def pid(self) -> int:
        """The process started: tritonserver, or mpirun with several ranks."""
        return self._process.pid

    def start(self, log: int | None = None) -> None:
        """Starts the process; its log goes to the file descriptor `log`, or to that of this process."""
        self.killed_because = ""
        self._drained = False
        self._hidden = self._key is None
        self._process.start(log)

    def poll(self) -> int | None:
        """The exit code, or None while it runs. With several ranks, mpirun ends when any rank does.

        A server that cannot answer any more is killed; `killed_because` says why.
        """
        code = self._process.poll()
        if code is None and (reason := self._fault()):
            self.killed_because = f"{reason}, so tritonserver was killed: its callers would hang"
            self.kill()
            code = self._process.wait(_KILL_AFTER_S)
        return code

    def _fault(self) -> str:
        """Why a server that runs will not answer, empty when it will: it has lost a process of a model, which it would not
        notice, or it has crashed and does not end."""
        if model := self._lifelines.died():
            return f"a process of the model {model} died"
        if fatal := self._crash_watch.crashed():
            return f"a thread crashed ({fatal.name}) and hangs in the report of that"
        return ""

    def _servers(self) -> Iterable[int]:
        """The process of each rank."""
        return [self.pid] if self.ranks == 1 else rank_processes(self._shm_prefix).values()

    def ready(self) -> bool:
        """Whether every model is loaded. Hides the key in the servers' arguments as soon as they are read."""
        ready = answers(f"{self.url}/v2/health/ready")
        if not self._hidden:
            self._hide_key(ready)
        return ready

    def _hide_key(self, last: bool) -> None:
        """A server that has a region has read its arguments; `last`: all have, so that this need not be repeated."""
        if not last and not any(_SHM.glob(f"{self._shm_prefix}*")):
            return
        hidden = hide_argument(region_users(self._shm_prefix), self._key or "")
        self._hidden = last
        if last and not hidden:
            print(f"qwen-triton: {_VISIBLE}", file=sys.stderr)

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
        """The exit code once it has ended (as `poll`); None when it still runs after `timeout_s`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while (code := self.poll()) is None and (deadline is None or time.monotonic() < deadline):
            time.sleep(_POLL_S)
        return code

    def stop(self) -> int:
        """Ends it gracefully and removes its shared memory.

        The models refuse new requests and have `exit_timeout_s` to answer the others; then SIGTERM, at last SIGKILL.
        """
        grace_s = self.settings.exit_timeout_s + _KILL_AFTER_S
        if self.drain():
            grace_s = self.unload_s()
        if self.ranks > 1 and self.poll() is None:
            self._drain_first_rank(grace_s)
        code = self._end(grace_s)
        self._kill_rest()
        self._lifelines.forget_all()
        for region in _SHM.glob(f"{self._shm_prefix}*"):
            region.unlink(missing_ok=True)
        remove_leftovers()
        return code

    def _end(self, grace_s: float) -> int:
        """SIGTERM, then SIGKILL after `grace_s` seconds; the exit code."""
        self._process.terminate()
        if self._process.wait(grace_s) is None:
            self.not_ended = self._lifelines.leaving()
        return self._process.stop(0.0)

    def kill(self) -> None:
        """Kills it at once; `stop()` then removes its shared memory."""
        self._process.kill()
        self._kill_rest()

    def unload_s(self) -> float:
        """How long a server that is drained may take to end."""
        return _UNLOAD_S + _UNLOAD_PROCESS_S * self._lifelines.most_processes()

    def drain(self) -> bool:
        """Lets the models answer what they have accepted. True when no request is left in any model. Repeatable.

        tritonserver itself takes new requests until it ends and breaks them off then. A request of the ensemble that
        has passed preprocessing must still be taken by the engine's model, which therefore refuses new ones last.
        """
        if self._drained:
            return True
        if self._process.poll() is not None or not self._lifelines.serving() & {BLS, PREPROCESSING}:
            return False
        deadline = time.monotonic() + self.settings.exit_timeout_s

        def drain(*models: str) -> bool:
            return self._lifelines.drain(models, deadline - time.monotonic(), lambda: self._process.poll() is not None)

        if not drain(PREPROCESSING):
            return False
        passed = time.monotonic() + _BETWEEN_MODELS_S
        if not drain(BLS):
            return False
        time.sleep(max(0.0, passed - time.monotonic()))
        self._drained = TENSORRT_LLM in self._lifelines.serving() and drain(TENSORRT_LLM)
        return self._drained

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
