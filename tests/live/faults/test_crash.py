"""A tritonserver that crashes and hangs in its report of that is killed; its launcher would wait for ever for its end."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from qwen_triton_build.launch.tritonserver import TritonServer
from tests.support.live.servers import rendered

pytestmark = [pytest.mark.live, pytest.mark.timeout(180)]

NOTICED_S = 20.0


@contextmanager
def nobody_reads() -> Iterator[int]:
    """The end for writing of a pipe whose reader never reads. What reports to it hangs once it is full."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


def fill(pipe: int) -> None:
    os.set_blocking(pipe, False)
    for size in (4096, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(pipe, b" " * size)
    os.set_blocking(pipe, True)


def test_a_server_that_hangs_in_the_report_of_its_crash_is_killed(qwen25_folder: Path, tmp_path: Path) -> None:
    """The handler hangs on its log here; after a crash in malloc it hangs on the lock of that."""
    deployment, repository = rendered({"model": str(qwen25_folder), "engine": {"kind": "replay"}}, tmp_path)
    server = TritonServer(deployment.server, repository, tmp_path)
    with nobody_reads() as log:
        server.start(log)
        try:
            server.wait_ready()
            fill(log)
            os.kill(server.pid, signal.SIGABRT)
            assert server.wait(NOTICED_S) == -signal.SIGKILL
            assert server.killed_because == (
                "a thread crashed (SIGABRT) and hangs in the report of that, so tritonserver was killed: its callers would hang"
            )
        finally:
            server.kill()
            server.stop()
