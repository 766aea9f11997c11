"""`qwen-triton serve` as a user runs it: phases, the ready lines, the cURL to paste, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import yaml

from tests.support.fake_vllm import write_fake_vllm
from tests.support.gpu_library import write_interpreter
from tests.support.live.servers import free_ports

pytestmark = pytest.mark.live
COMMAND = [sys.executable, "-m", "qwen_triton_build.cli"]
READY_S = 120
END_S = 60
PORTS = ("HTTP_PORT", "GRPC_PORT", "METRICS_PORT", "OPENAI_PORT")


@dataclass
class Serving:
    """A command under way."""

    process: subprocess.Popen[str]
    ports: dict[str, int]
    output: Path
    family: list[psutil.Process] = field(default_factory=list)

    def said(self) -> str:
        return self.output.read_text()

    def ready(self) -> bool:
        url = f"http://127.0.0.1:{self.ports['HTTP_PORT']}/v2/health/ready"
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
        return False

    def wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_S
        while not until():
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
    """Starts `qwen-triton` with its ports in the environment; on a deployment of the replay engine if not told else."""
    started: list[Serving] = []
    deployment = tmp_path / "deployment.yaml"
    deployment.write_text(yaml.safe_dump({"model": str(qwen25_folder), "engine": {"kind": "replay"}}))

    def run(*command: str, **given: str) -> Serving:
        command = command or ("serve", str(deployment), "--log", str(tmp_path / "server.log"))
        ports = dict(zip(PORTS, free_ports(4), strict=True))
        environment = os.environ | {name: str(port) for name, port in ports.items()} | given
        output = tmp_path / "output"
        with output.open("w") as sink:
            process = subprocess.Popen(
                [*COMMAND, *command], env=environment, stdout=sink, stderr=sink, text=True
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
    serving.wait(lambda: "Ctrl-C stops it." in serving.said())
    said = serving.said()
    phases = re.findall(r"^(\w+) .+ +\d+\.\d s$", said, re.MULTILINE)
    assert phases == ["checking", "rendering", "starting"], said
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
    serving.wait(lambda: len(psutil.Process(serving.process.pid).children(recursive=True)) > 1)
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


def test_server_starts_on_any_repository_and_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    """Here on what `render` wrote."""
    repository = str(tmp_path / "repository")
    assert start("render", str(tmp_path / "deployment.yaml"), "--output", repository).process.wait(END_S) == 0
    serving = start("server", "--model-repository", repository)
    serving.wait(serving.ready)
    url = f"http://127.0.0.1:{serving.ports['HTTP_PORT']}/v2/models/ensemble/generate"
    with urllib.request.urlopen(url, json.dumps({"text_input": "你好"}).encode(), timeout=30) as reply:
        assert json.load(reply)["text_output"] == "你好"
    assert serving.end(signal.SIGTERM) == 0
    nothing_is_left(serving)


def vllm_deployment(folder: Path, model: Path, **engine: str) -> Path:
    """A deployment on a vLLM that computes nothing and asks for no GPU."""
    python = write_interpreter(folder, write_fake_vllm(folder / "library", "0.26.0+cpu"))
    file = folder / "vllm.yaml"
    keys = {"kind": "vllm", "python": str(python), "load_format": "dummy", **engine}
    file.write_text(yaml.safe_dump({"model": str(model), "engine": keys}))
    return file


def test_loading_a_model_of_vllm_shows_its_stages(start: Start, tmp_path: Path, qwen25_folder: Path) -> None:
    file = vllm_deployment(tmp_path, qwen25_folder, attention_backend="SLOW")
    serving = start("serve", str(file), "--log", str(tmp_path / "server.log"))
    serving.wait(lambda: "ready in" in serving.said())
    said = re.sub(r" +\d+\.\d s$", "", serving.said(), flags=re.MULTILINE).splitlines()
    first = said.index("starting vLLM's engine core")
    assert [line for line in said[first:] if "waiting for" not in line][:8] == [
        "starting vLLM's engine core",
        "loading weights",
        "qwen-triton: weights: 27.53 GiB on a GPU",
        "preparing the model",
        "compiling",
        "measuring memory for the cache",
        "qwen-triton: KV cache: 519,264 tokens",
        "capturing CUDA graphs",
    ]


def test_a_vllm_that_does_not_start_says_what_helps(start: Start, tmp_path: Path, qwen25_folder: Path) -> None:
    file = vllm_deployment(tmp_path, qwen25_folder, attention_backend="NO_MEMORY")
    serving = start("serve", str(file), "--log", str(tmp_path / "server.log"))
    assert serving.process.wait(READY_S) == 1
    assert (
        "the estimated maximum model length is 25936. Try increasing `gpu_memory_utilization`; set engine.max_model_len to "
        "25936 or less"
    ) in serving.said()
