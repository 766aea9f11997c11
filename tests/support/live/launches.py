"""Starts `qwen-triton serve` as a process, as an operator does, and finds what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from qwen_triton_build.deployment.schema import Deployment, load_deployment
from tests.support.live.servers import READY_S, write_deployment

HANG_S = 60
COMMAND = (sys.executable, "-m", "qwen_triton_build.cli")
"""The command `qwen-triton` of this checkout."""


@dataclass
class Launch:
    """A running `serve`. Its output is in files, its temporary files in a folder of its own.

    `others`: shared-memory regions from before its start; one of another process that had its number may be among them.
    """

    process: subprocess.Popen[bytes]
    deployment: Deployment
    folder: Path
    others: frozenset[str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.deployment.server.http_port}"

    @property
    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def output(self) -> str:
        return (self.folder / "stdout").read_text()

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def find(self, *words: str, without: str = "\0") -> psutil.Process:
        """The one descendant whose command line has all of these words. One that has just ended has none."""
        lines = [(p, " ".join(command_line(p))) for p in self.descendants()]
        (found,) = [p for p, line in lines if all(w in line for w in words) and without not in line]
        return found

    def end(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(HANG_S)

    def leftovers(self) -> list[str]:
        """Shared-memory regions and temporary files of this launch."""
        regions = [name for name in _regions() - self.others if f"qwen_triton_{self.process.pid}_" in name]
        return regions + [p.name for p in (self.folder / "tmp").iterdir()]


def _regions() -> frozenset[str]:
    return frozenset(region.name for region in Path("/dev/shm").iterdir())


@contextmanager
def launched(
    deployment: Mapping[str, Any], folder: Path, *flags: str, environment: Mapping[str, str] | None = None
) -> Iterator[Launch]:
    """`qwen-triton serve`, ready; killed with its descendants if the test leaves it running."""
    (folder / "tmp").mkdir()
    file, others = write_deployment(deployment, folder / "deployment.yaml"), _regions()
    command = [*COMMAND, "serve", str(file), "--log", str(folder / "log"), *flags]
    env = {**os.environ, "TMPDIR": str(folder / "tmp"), **(environment or {})}
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=err)
    launch = Launch(process, load_deployment(file, environment={}), folder, others)
    try:
        wait_for(lambda: process.poll() is not None or "\nready in" in launch.output, READY_S)
        assert process.poll() is None, launch.errors
        yield launch
    finally:
        if process.poll() is None:
            kill_all([*launch.descendants(), psutil.Process(process.pid)])
            process.wait()


def command_line(process: psutil.Process) -> list[str]:
    """Its command line; empty where it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.cmdline()
    return []


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def wait_for(condition: Callable[[], bool], hang_s: float = HANG_S) -> None:
    deadline = time.monotonic() + hang_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of them runs any more; a zombie is gone."""

    def runs(process: psutil.Process) -> bool:
        with contextlib.suppress(psutil.NoSuchProcess):
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return False

    return not any(map(runs, processes))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def printed_commands(output: str) -> list[str]:
    """The commands to try that `serve` printed."""
    return re.findall(r"^  (curl .*)$", output, re.MULTILINE)
