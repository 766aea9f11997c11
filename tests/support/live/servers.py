"""Starts a real tritonserver for a deployment, for live tests: on free ports, stopped by its process id.

    with serving({"model": ..., "engine": {"kind": "replay"}}, folder) as server:
        generate(server, "ensemble", text_input="hello", max_tokens=4)

The repository is rendered and the server started by the code behind `qwen-triton serve`, without the command.
"""

from __future__ import annotations

import random
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from qwen_triton.engines.process.client import read_counters
from qwen_triton.engines.process.loads import EngineLoad, current_load, server_identity
from qwen_triton.errors import ConfigurationError, EngineError
from qwen_triton.tensors.contract import TENSORRT_LLM
from qwen_triton_build.deployment.checkpoint_names import resolve_model
from qwen_triton_build.deployment.schema import Deployment, load_deployment
from qwen_triton_build.launch import tritonserver
from qwen_triton_build.launch.log import ServerLog
from qwen_triton_build.launch.tritonserver import TritonServer, command_line
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import render

READY_S = 90
UNLOAD_S = 5.0
"""How long a server may take to end once every request is answered, whatever callers did before, on a busy machine too. For one
process of each model: `TritonServer.unload_s` says how much longer several take."""
_KILL_S = 0.5
"""How long a server that is killed in the end takes to be gone."""
_GAVE_UP = re.compile(r"Timeout 0: Found [1-9]")
"""Triton's last count before it ends without the models that still have work or are still there."""
_PORTS = (20_000, 32_000)
"""Below the range that the system gives to outgoing connections, so that none of those takes a port before us."""


@dataclass(frozen=True)
class LiveServer:
    """A server that is ready. Addresses are HOST:PORT as tritonclient takes them."""

    deployment: Deployment
    repository: Path
    log: Path
    pid: int

    @property
    def http(self) -> str:
        return f"127.0.0.1:{self.deployment.server.http_port}"

    @property
    def grpc(self) -> str:
        return f"127.0.0.1:{self.deployment.server.grpc_port}"

    @property
    def metrics(self) -> str:
        return f"http://127.0.0.1:{self.deployment.server.metrics_port}/metrics"

    def engine_counters(self) -> dict[str, Any]:
        """What the engine's process has counted since its start: `steps`, `tokens`, `running` … (engines.step)."""
        return read_counters(self.engine_load().engine_socket)

    def engine_load(self, model: str = TENSORRT_LLM) -> EngineLoad:
        """The current load of an engine model. Raises EngineError where none is published."""
        load = current_load(server_identity(self.pid), self.repository, model)
        if load is None:
            raise EngineError(f"no load of {model} is published")
        return load

    def runs(self, sequences: int) -> bool:
        """Whether so many run in the engine and none waits for it."""
        counters = self.engine_counters()
        return bool(counters["running"] == sequences and counters["waiting"] == 0)

    def is_free(self) -> bool:
        """Whether nothing runs in the engine and nothing waits for it."""
        return self.runs(0)


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds now; chosen at random, so that test runs side by side do not meet."""
    found: list[int] = []
    while len(found) < count:
        port = random.randint(*_PORTS)
        with socket.socket() as probe:
            if port not in found and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def write_deployment(deployment: Mapping[str, Any] | Path, file: Path) -> Path:
    """The deployment as a file, with free ports and an absolute model path; `deployment` may be such a file itself."""
    data = yaml.safe_load(deployment.read_text()) if isinstance(deployment, Path) else dict(deployment)
    if isinstance(deployment, Path):
        data["model"] = str((deployment.parent / data["model"]).resolve())
    *triton, openai = free_ports(4)
    ports = dict(zip(("http_port", "grpc_port", "metrics_port"), triton, strict=True))
    data["openai"] = data.get("openai", {}) | {"port": openai}
    data["server"] = {"ready_timeout_s": READY_S, "exit_timeout_s": 10} | data.get("server", {}) | ports
    file.write_text(yaml.safe_dump(data, allow_unicode=True))
    return file


def rendered(deployment: Mapping[str, Any] | Path, folder: Path) -> tuple[Deployment, Path]:
    """The deployment as `write_deployment` changes it, and its repository; both are written below `folder`."""
    loaded = load_deployment(write_deployment(deployment, folder / "deployment.yaml"), environment={})
    return loaded, render(placeholders(loaded, resolve_model(loaded)), folder / "repository")


@contextmanager
def serving(
    deployment: Mapping[str, Any] | Path,
    folder: Path,
    change: Callable[[Path], None] = lambda _: None,
    flags: Sequence[str] = (),
    cannot_unload: str = "",
) -> Iterator[LiveServer]:
    """A server for `deployment` (a mapping, or a deployment.yaml); `folder` is empty and keeps its log.

    `change` may edit the rendered repository before the server sees it; `flags` are added to the server's own. The test
    fails with the log's telling lines when the server does not come up, and when it does not unload all models in time at
    its end. `cannot_unload`: the reason why this server cannot, and its end is not judged; empty for all others.
    """
    loaded, repository = rendered(deployment, folder)
    change(repository)
    log = ServerLog(str(folder / "tritonserver.log"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tritonserver, "command_line", lambda *given: [*command_line(*given), *flags])
        server = TritonServer(loaded.server, repository, folder)
    server.start(log.open())
    try:
        try:
            server.wait_ready()
        except ConfigurationError as error:
            pytest.fail("\n".join([str(error), *log.error_lines()]))
        yield LiveServer(loaded, repository, folder / "tritonserver.log", server.pid)
    finally:
        if cannot_unload:
            server.stop()
        else:
            _stop_in_time(server, folder / "tritonserver.log")
        log.close()


def _stop_in_time(server: TritonServer, log: Path) -> None:
    """Stops it. Fails the test where it takes long to end after every request was answered, or gives up a model.

    tritonserver 2.51 may have a model left that it never tells to end (docs/operating.md): its launcher kills it in time.
    """
    server.drain()
    most_s = max(UNLOAD_S, server.unload_s() + _KILL_S)
    began = time.monotonic()
    server.stop()
    seconds, text = time.monotonic() - began, log.read_text()
    if seconds > most_s or server.not_ended or _GAVE_UP.search(text):
        pytest.fail(f"the server took {seconds:.1f} s of {most_s:.1f} to end {server.not_ended or ''}: {text[-2000:]}")
