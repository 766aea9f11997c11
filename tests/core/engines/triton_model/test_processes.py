"""The processes of a model of Triton's Python backend, found among the server's children, and told apart after a reload."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen_triton.engines.triton_model.processes import ModelProcesses, find_processes

Start = Callable[..., "subprocess.Popen[bytes]"]
STUB = "/x/triton_python_backend_stub"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a process as the server starts one of a model of a repository: by its stub, with the path of its code."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(repository: str, model: str, program: str = STUB) -> subprocess.Popen[bytes]:
        code = tmp_path / repository / model / "1" / "model.py"
        code.parent.mkdir(parents=True, exist_ok=True)
        code.write_text("print(flush=True); input()")
        command = [program, str(code)]
        process = subprocess.Popen(
            command, executable=sys.executable, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
        )
        assert process.stdout is not None
        process.stdout.readline()
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def test_a_models_processes_are_those_of_its_own_repository(start: Start, tmp_path: Path) -> None:
    """By the stub's command line; another model's, another repository's and another program's are none."""
    mine = {start("a", "engine").pid, start("a", "engine").pid}
    start("a", "engine_2")
    start("b", "engine")
    start("a", "engine", "python")
    assert set(find_processes(os.getpid(), tmp_path / "a" / "engine")) == mine
    assert find_processes(os.getppid(), tmp_path / "a" / "engine") == []


def test_a_process_that_ends_after_a_reload_is_none_that_died(start: Start, tmp_path: Path) -> None:
    """The new one is watched from then on; when that one ends and there is none that is new, it has died."""
    processes = ModelProcesses(os.getpid(), tmp_path / "a" / "engine")
    old = start("a", "engine")
    processes.find()
    new = start("a", "engine")
    for process, replaced in ((old, True), (new, False)):
        process.kill()
        process.wait()
        assert select.select(processes.descriptors, [], [], 5)[0] == processes.descriptors
        assert processes.replaced() is replaced
    processes.close()


def test_one_of_several_instances_that_dies_has_died(start: Start, tmp_path: Path) -> None:
    processes = ModelProcesses(os.getpid(), tmp_path / "a" / "engine")
    first = start("a", "engine")
    start("a", "engine")
    processes.find()
    first.kill()
    first.wait()
    assert not processes.replaced()
    processes.close()
