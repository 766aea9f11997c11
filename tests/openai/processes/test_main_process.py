"""The main process of several workers: it replaces them, drains them together, and says when they cannot start."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_openai.processes.main_process import serve_with_workers
from qwen_triton_openai.settings import ShimSettings
from tests.support.shim_workers import running, wait_served

pytestmark = pytest.mark.timeout(120)

WORKERS = 2
SOON_S = 30.0
COUNTED = {
    'qwen_triton_openai_completion_tokens_total{key="-",model="qwen"} 12.0',
    'qwen_triton_openai_model_requests_total{model="qwen",way="grpc"} 6.0',
}
"""Of six requests of two tokens."""


def ends_with(code: int) -> tuple[str, ...]:
    """A worker that ends at its start."""
    return (sys.executable, "-c", f"raise SystemExit({code})")


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.02)


def workers(process: subprocess.Popen[bytes]) -> set[int]:
    return {child.pid for child in psutil.Process(process.pid).children()}


def counts(url: str) -> set[str]:
    """The metrics of all workers."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=SOON_S) as reply:
        return set(reply.read().decode().splitlines())


def ask(url: str, tokens: int) -> str:
    """The answer's text, or how it ended."""
    body = json.dumps({"model": "qwen", "prompt": "x", "max_tokens": tokens}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=SOON_S) as reply:
            return str(json.load(reply)["choices"][0]["text"])
    except (OSError, urllib.error.URLError):
        return "cut"


def test_a_killed_worker_is_replaced_and_the_drain_ends_what_was_begun(tmp_path: Path) -> None:
    """Whichever is killed; what it has counted stays; at the end no folder is left."""
    with running(tmp_path, workers=WORKERS) as (process, url, log):
        wait_served(url)
        until(lambda: len(workers(process)) == WORKERS)
        assert [ask(url, 2) for _ in range(6)] == ["xx"] * 6
        until(lambda: counts(url) >= COUNTED)  # a request is counted when its answer has left
        for _ in range(2):
            killed = min(workers(process))
            os.kill(killed, signal.SIGKILL)
            until(lambda killed=killed: killed not in workers(process) and len(workers(process)) == WORKERS)  # type: ignore[misc]
        wait_served(url)
        assert counts(url) >= COUNTED
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(ask(url, 100)))
        asking.start()
        until(lambda: load(url) == 1)
        folder = Path(psutil.Process(min(workers(process))).environ()["PROMETHEUS_MULTIPROC_DIR"])
        assert folder.is_dir()
        process.send_signal(signal.SIGTERM)
        asking.join()
        assert process.wait(SOON_S) == 0
        assert answers == ["x" * 100]
        assert not folder.exists()
        assert log.read_text().count("ended with exit code -9; another starts") == 2


def load(url: str) -> int:
    with urllib.request.urlopen(f"{url}/load", timeout=SOON_S) as reply:
        return int(json.load(reply)["server_load"])


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    with running(tmp_path, workers=WORKERS) as (process, url, _):
        wait_served(url)
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(ask(url, 2900)))
        asking.start()
        until(lambda: load(url) == 1)
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(SOON_S) == 0
        asking.join()
        assert answers == ["cut"]


def test_workers_end_with_the_main_process(tmp_path: Path) -> None:
    """However it ends."""
    with running(tmp_path, workers=WORKERS) as (process, url, _):
        wait_served(url)
        until(lambda: len(workers(process)) == WORKERS)
        left = workers(process)
        process.kill()
        process.wait()
        until(lambda: not any(psutil.pid_exists(pid) for pid in left))


@pytest.mark.parametrize(("worker", "shim", "starts"), [(3, 1, 3), (2, 2, 1)])
def test_workers_that_cannot_start_end_the_shim(worker: int, shim: int, starts: int, tmp_path: Path) -> None:
    """After three in a row; after the first whose settings cannot be used."""
    with running(tmp_path, ends_with(worker), workers=WORKERS) as (process, _, log):
        assert process.wait(SOON_S) == shim
        assert log.read_text().count(f"exit code {worker}") == starts


def test_a_port_that_is_taken_is_said_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(tmp_path, port=port, workers=WORKERS) as (process, _, log):
            assert process.wait(SOON_S) == 1
    assert f"127.0.0.1:{port}: [Errno 98]" in log.read_text()


def test_a_machine_without_a_folder_for_temporary_files_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    with pytest.raises(ConfigurationError, match="set TMPDIR to one that can be written"):
        serve_with_workers(ShimSettings(), WORKERS)
