"""What a model's process has from the server: connections that are not its own, and an end when the server is stuck."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qwen_triton.triton import model_process
from qwen_triton.triton.model_process import StuckServerWatch
from tests.support.live.waiting import becomes

PREPARED = """
import os, sys
from qwen_triton.triton.model_process import prepare_process
prepare_process("some_model")
kept = []
for descriptor in map(int, sys.argv[1:]):
    try:
        os.fstat(descriptor)
    except OSError:
        continue
    kept.append(descriptor)
print(kept, flush=True)
sys.stdin.read()
"""
WAIT_S = 20.0


def test_connections_of_the_servers_clients_are_closed_and_all_else_is_kept(tmp_path: Path) -> None:
    """A client hears the end of its connection although the process goes on."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), WAIT_S) as client,
        (tmp_path / "file").open("w") as file,
    ):
        served, _ = listener.accept()
        pair = socket.socketpair()
        inherited = [served.fileno(), listener.fileno(), pair[0].fileno(), file.fileno()]
        process = subprocess.Popen(
            [sys.executable, "-c", PREPARED, *map(str, inherited)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=inherited,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        served.close()
        kept = process.stdout.readline()
        assert kept.decode().strip() == str(inherited[2:])
        assert client.recv(1) == b""
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(WAIT_S) == 0
        process.stdout.close()
        for end in pair:
            end.close()


@pytest.fixture
def watching(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[int]]]:
    """Watches batches, a hundred looks a second, and returns the list that gets the exit code."""
    monkeypatch.setattr(model_process, "_LOOK_S", 0.01)
    ends: list[int] = []
    monkeypatch.setattr(os, "_exit", ends.append)
    watches: list[StuckServerWatch] = []

    def watch(batches: Callable[[], list[int | None]], launched: bool = True) -> list[int]:
        watches.append(StuckServerWatch(batches, launched))
        watches[-1].start()
        return ends

    yield watch
    for each in watches:
        each.stop()


def test_a_process_ends_when_one_of_its_senders_stays_at_a_batch(
    watching: Callable[..., list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    """After thirty looks, whatever the others do."""
    counted = itertools.count()
    looks: list[int] = []

    def batches() -> list[int | None]:
        looks.append(next(counted))
        return [looks[-1], None, 7]

    ends = watching(batches)
    assert becomes(lambda: bool(ends), WAIT_S)
    assert ends[0] == 1
    assert len(looks) >= 31
    assert caplog.messages[0].startswith("tritonserver has taken no response for 0 s: it is stuck")
    assert caplog.messages[0].endswith("this process ends, so that the launcher does it")


def test_without_a_launcher_it_says_so_again_and_again(
    watching: Callable[..., list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    ends = watching(lambda: [3], launched=False)
    assert becomes(lambda: len(caplog.messages) >= 2, WAIT_S)
    assert all(message.endswith("Requests hang until it is started again") for message in caplog.messages)
    assert not ends


def test_senders_that_go_on_or_rest_are_not_stuck(watching: Callable[..., list[int]]) -> None:
    """A batch that lasts for a few looks, and none."""
    numbers = itertools.count()
    looks: list[int] = []

    def batches() -> list[int | None]:
        looks.append(next(numbers))
        return [looks[-1] // 20, None]

    ends = watching(batches)
    assert becomes(lambda: len(looks) > 150, WAIT_S)
    assert not ends
