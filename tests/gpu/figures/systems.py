"""What is measured: vLLM's own server, ours and the engine alone, each started for the time of a block."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import psutil

from qwen_triton.engines.vllm.options import VllmOptions
from qwen_triton_bench.run.server import free_ports
from qwen_triton_build.deployment.schema import Repository
from qwen_triton_openai.settings import ShimSettings

from .loads import FigureError, Figures, Load
from .processor import Seconds, family, group_of_ours, group_of_vllm, processor_seconds

_ALONE = Path(__file__).with_name("alone.py")
_END_S = 30.0
_CUDA_GRAPHS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 384, 512]
ENGINE: dict[str, Any] = {
    "max_model_len": 2048,
    "max_num_seqs": 512,
    "max_num_batched_tokens": 8192,
    "gpu_memory_utilization": 0.85,
    "enable_prefix_caching": False,
    "compilation_config": {
        "mode": 0,
        "cudagraph_mode": "FULL_DECODE_ONLY",
        "cudagraph_capture_sizes": _CUDA_GRAPHS,
    },
}
"""Arguments of vLLM's engine in every row: CUDA graphs without torch.compile, which would take minutes a start."""
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_HOST_IP": "127.0.0.1",
    "GLOO_SOCKET_IFNAME": "lo",
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # its kernels are compiled at their first use, which needs a compiler
    "VLLM_USE_DEEP_GEMM": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True)
class Served:
    """A server that answers at `port`; `pid` is the parent of all its processes. `metrics_port`: of ours, Triton's."""

    port: int
    pid: int
    ours: bool
    metrics_port: int = 0

    def processor(self) -> Seconds:
        return processor_seconds(self.pid, group_of_ours if self.ours else group_of_vllm)


@dataclass(frozen=True)
class Machine:
    """`python`: a program that is vLLM's interpreter; `work`: a folder for logs and files; `ready_s`: longest start."""

    python: str
    work: Path
    ready_s: float

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of all that is started; a variable that is set stays as it is."""
        return {"VLLM_CACHE_ROOT": str(self.work / "cache"), **_ENVIRONMENT, **os.environ, **more}

    @contextmanager
    def vllm(self, folder: Path, engine: Mapping[str, Any], processes: int, rust: bool) -> Iterator[Served]:
        """vLLM's own server with so many API processes, or with its front end in Rust. Raises FigureError."""
        port = free_ports(1)[0]
        command = [self.python, "-m", "vllm.entrypoints.cli.main", "serve", str(folder), "--served-model-name", "qwen"]
        command += ["--host", "127.0.0.1", "--port", str(port), *flags(engine)]
        if rust:
            with self._running(command, "/health", port, {"VLLM_USE_RUST_FRONTEND": "1"}, ours=False) as served:
                yield served
            return
        command += ["--generation-config", "vllm", "--disable-uvicorn-access-log"]
        command += ["--api-server-count", str(processes)] if processes > 1 else []
        with self._running(command, "/health", port, {}, ours=False) as served:
            yield served

    @contextmanager
    def ours(self, folder: Path, engine: Mapping[str, Any], instances: int | str) -> Iterator[Served]:
        """Our server with so many BLS instances and shims, or «auto». Raises FigureError."""
        http, grpc, metrics, port = free_ports(4)
        own = {field.name for field in fields(VllmOptions)}
        keys = {name: value for name, value in engine.items() if name in own}
        extra = {name: value for name, value in engine.items() if name not in own}
        deployment = {
            "model": str(folder),
            "served_model_name": "qwen",
            "engine": {"kind": "vllm", "python": self.python, **keys, **({"extra": extra} if extra else {})},
            "repository": {"prompt_format": "raw", "bls_instances": instances},
            "server": {"http_port": http, "grpc_port": grpc, "metrics_port": metrics},
            "openai": {"port": port, "access_log": False, "workers": instances},
        }
        file = self.work / "deployment.yaml"
        file.write_text(json.dumps(deployment))
        command = [sys.executable, "-m", "qwen_triton_build.cli", "serve", str(file), "--log", "-"]
        with self._running(command, "/health/ready", port, {}, ours=True) as served:
            yield replace(served, metrics_port=metrics)

    def alone(self, folder: Path, engine: Mapping[str, Any], load: Load, within_s: float) -> Figures:
        """The engine without a server: all requests of the load are given to it at once. Raises FigureError."""
        arguments = json.dumps({**engine, "disable_log_stats": True, "seed": 0})
        numbers = map(str, (load.requests, load.prompt, load.answer))
        command = [self.python, str(_ALONE), str(folder), arguments, *numbers]
        with self._started(command, self.environment(), pipe=True) as (process, log):
            began = time.monotonic()
            watcher = _Deadline(process, self.ready_s + within_s)
            before, seconds, used = Seconds(), 0.0, Seconds()
            assert process.stdout is not None
            for line in process.stdout:
                if line == "BEGIN\n":
                    before = processor_seconds(process.pid, _group_alone)
                elif line.startswith("END "):
                    used = processor_seconds(process.pid, _group_alone) - before
                    seconds = float(line.split()[1])
            code = process.wait()
            watcher.cancel()
            if code or not seconds:
                raise FigureError(f"the engine alone ended after {time.monotonic() - began:.0f} s\n{last_lines(log)}")
        per_second = load.requests / seconds
        return Figures(per_second * load.answer, per_second, processor_s=dict(used))

    @contextmanager
    def _running(
        self, command: Sequence[str], path: str, port: int, more: Mapping[str, str], *, ours: bool
    ) -> Iterator[Served]:
        with self._started(command, self.environment(**more)) as (process, log):
            deadline = time.monotonic() + self.ready_s
            while not _answers(f"http://127.0.0.1:{port}{path}"):
                if process.poll() is not None:
                    raise FigureError(f"it ended with code {process.returncode} while it started\n{last_lines(log)}")
                if time.monotonic() > deadline:
                    raise FigureError(f"it was not ready after {self.ready_s:.0f} s\n{last_lines(log)}")
                time.sleep(0.25)
            yield Served(port, process.pid, ours)

    @contextmanager
    def _started(
        self, command: Sequence[str], environment: Mapping[str, str], pipe: bool = False
    ) -> Iterator[tuple[subprocess.Popen[str], Path]]:
        """Runs a command in a session of its own until the block ends; nothing of it is left then."""
        log = self.work / "log.txt"
        with log.open("w") as file:
            file.write(f"{shlex.join(command)}\n")
            file.flush()
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if pipe else file, stderr=file, text=True,
                env=dict(environment), start_new_session=True,
            )  # fmt: skip
            try:
                yield process, log
            finally:
                _end(process)


class _Deadline:
    """Kills a process that is not finished in time."""

    def __init__(self, process: subprocess.Popen[str], seconds: float) -> None:
        self._timer = threading.Timer(seconds, process.kill)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        self._timer.cancel()


def missing(ours: int) -> str:
    """Why our server cannot have so many BLS instances and shims in this version; empty when it can."""
    if ours == 1:
        return ""
    if "bls_instances" not in Repository.model_fields:
        return "not available: this version has no repository.bls_instances"
    return "" if "workers" in ShimSettings.model_fields else "not available: this version has no openai.workers"


def rust_front_missing(python: str) -> str:
    """Why vLLM's front end in Rust cannot be run; empty when it can."""
    question = "import importlib.util, os; s = importlib.util.find_spec('vllm'); print(os.path.dirname(s.origin))"
    done = subprocess.run([python, "-c", question], capture_output=True, text=True, check=False)
    binary = Path(done.stdout.strip() or ".") / "vllm-rs"
    return "" if os.access(binary, os.X_OK) else "not available: vllm has no program vllm-rs here"


def write_interpreter(python: str, site: Path | None, folder: Path) -> str:
    """A program that is the interpreter `python` with `site` on its path and this process's LD_LIBRARY_PATH."""
    program = folder / "python"
    places = f'{shlex.quote(str(site))}"${{PYTHONPATH:+:$PYTHONPATH}}"' if site else '"${PYTHONPATH:-}"'
    libraries = shlex.quote(os.environ.get("LD_LIBRARY_PATH", ""))
    program.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={places} LD_LIBRARY_PATH={libraries}\nexec {shlex.quote(python)} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


def flags(engine: Mapping[str, Any]) -> list[str]:
    """Arguments of vLLM's engine as the flags of its server."""
    found = []
    for name, value in engine.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            found.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            found += [f"--{flag}", json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
    return found


def last_lines(log: Path, most: int = 25) -> str:
    """The last lines of a log, indented."""
    lines = log.read_text(errors="replace").splitlines()
    return "\n".join(f"    {line[:300]}" for line in lines[-most:])


def with_arguments(engine: Mapping[str, Any], model: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of vLLM's engine: of every row, of the model, and as the command line has them; the last is taken."""
    return {**engine, **model, **given}


def _group_alone(words: list[str]) -> str:
    return group_of_vllm(words) or (
        "caller" if str(_ALONE) in words else "core" if "spawn_main" in " ".join(words) else ""
    )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _end(process: subprocess.Popen[str]) -> None:
    """Ends a process, its descendants and all of its session: asked first, then killed."""
    others = [*family(process.pid)[1:], *_session(process.pid)]
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _, left = psutil.wait_procs(others, timeout=5)
    for one in left:
        try:
            one.kill()
        except psutil.Error:
            continue  # it has ended meanwhile
    psutil.wait_procs(left, timeout=10)


def _session(leader: int) -> list[psutil.Process]:
    """Processes of a session besides its leader, which may have ended before them."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != leader and os.getsid(process.pid) == leader:
                found.append(process)
        except OSError:
            continue  # it has ended meanwhile
    return found
