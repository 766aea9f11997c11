"""`qwen-triton serve` as a user runs it: phases, the ready lines, the cURL to paste, and an end that leaves nothing."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml

from tests.live.servers import free_ports

pytestmark = pytest.mark.live
COMMAND = [sys.executable, "-m", "qwen_triton_build.cli"]
READY_S = 120
END_S = 60
PORTS = ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "OPENAI_PORT")


@dataclass
class Serving:
    """`qwen-triton serve` under way."""

    process: subprocess.Popen[str]
    ports: dict[str, int]
    output: Path
    family: list[psutil.Process] = field(default_factory=list)

    def said(self) -> str:
        return self.output.read_text()

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while "Ctrl-C stops it." not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        self.family = psutil.Process(self.process.pid).children(recursive=True)

    def end(self, by: signal.Signals) -> int:
        self.process.send_signal(by)
        return self.process.wait(END_S)


Start = Callable[..., Serving]


@pytest.fixture
def start(tmp_path: Path, qwen25_folder: Path) -> Iterator[Start]:
    """Starts the command for the replay engine, its ports given in the environment."""
    started: list[Serving] = []

    def run(**given: str) -> Serving:
        file = tmp_path / "deployment.yaml"
        file.write_text(yaml.safe_dump({"model": str(qwen25_folder), "engine": {"kind": "replay"}}))
        ports = dict(zip(PORTS, free_ports(4), strict=True))
        environment = os.environ | {name: str(port) for name, port in ports.items()} | given
        output = tmp_path / "output"
        with output.open("w") as sink:
            process = subprocess.Popen(
                [*COMMAND, "serve", str(file), "--log", str(tmp_path / "server.log")],
                env=environment, stdout=sink, stderr=sink, text=True,
            )  # fmt: skip
        started.append(Serving(process, ports, output))
        return started[-1]

    yield run
    for serving in started:
        if serving.process.poll() is None:
            serving.end(signal.SIGKILL)


def regions() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("qwen_triton_*")}


def nothing_is_left(serving: Serving) -> None:
    """No process, no shared-memory region of it, no port, no folder."""
    alive = psutil.wait_procs(serving.family, timeout=10)[1]
    assert [p.cmdline() for p in alive if p.status() != psutil.STATUS_ZOMBIE] == []
    assert [name for name in regions() if f"_{serving.process.pid}_" in name] == []
    for port in serving.ports.values():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))


def test_it_answers_the_curl_it_prints_and_ctrl_c_leaves_nothing_behind(start: Start) -> None:
    serving = start()
    serving.wait_ready()
    said = serving.said()
    for phase in ("checking the machine", "rendering the model repository", "starting tritonserver and the engine"):
        assert re.search(rf"^{phase} +\d+\.\d s$", said, re.MULTILINE), said
    assert f"http://localhost:{serving.ports['HTTP_PORT']}" in said
    assert len(serving.family) >= 6, "tritonserver, four stubs and the engine"
    assert [name for name in regions() if f"_{serving.process.pid}_" in name]
    curl = next(line for line in said.splitlines() if "/v2/models/ensemble/generate" in line)
    answer = subprocess.run([*shlex.split(curl), "-s"], capture_output=True, text=True, timeout=30, check=True).stdout
    assert json.loads(answer)["text_output"] == "你好，你叫什么名字"
    assert serving.end(signal.SIGINT) == 0
    nothing_is_left(serving)


def test_a_signal_while_it_starts_leaves_nothing_behind(start: Start) -> None:
    serving = start()
    deadline = time.monotonic() + READY_S
    while len(psutil.Process(serving.process.pid).children(recursive=True)) < 2:
        assert time.monotonic() < deadline, serving.said()
        time.sleep(0.05)
    serving.family = psutil.Process(serving.process.pid).children(recursive=True)
    assert serving.end(signal.SIGTERM) == 0
    nothing_is_left(serving)


def test_a_taken_port_is_told_before_anything_starts(start: Start) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", free_ports(1)[0]))
        holder.listen()
        port = holder.getsockname()[1]
        serving = start(HTTP_PORT=str(port))
        assert serving.process.wait(END_S) == 2
    assert f"qwen-triton: server.http_port: port {port} cannot be used (Address already in use)" in serving.said()
    assert "Traceback" not in serving.said()
