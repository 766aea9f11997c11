"""An engine's process of its own: what befalls it must not end it."""

from __future__ import annotations

import json
import os
import resource
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import psutil
import pytest

from qwen_triton.engines.process.client import EngineClient
from qwen_triton.engines.process.socket import connect_to
from qwen_triton.types import EngineRequest, SamplingParams
from tests.core.engines.process.test_client import Receiver
from tests.support.descriptors import LOOK_S, SHORT, SPIN
from tests.support.live.waiting import becomes

WAIT_S = 20.0
IDS = tuple(range(10, 40))
PROGRAM = [sys.executable, "-m", "qwen_triton.engines.process.main", "--options", json.dumps({"engine": "replay"})]


class Process:
    """A replay engine, and what it wrote into its log."""

    def __init__(self, folder: Path) -> None:
        self.address = str(folder / "engine")
        self._log = folder / "log"
        with self._log.open("w") as log:
            self.running = subprocess.Popen([*PROGRAM, "--folder", str(folder)], stderr=log)
        assert becomes(lambda: Path(self.address).exists(), WAIT_S)
        self._as_measured = psutil.Process(self.running.pid)

    def allow_descriptors(self, more: int) -> None:
        """Beside those it has."""
        most = max(int(name) for name in os.listdir(f"/proc/{self.running.pid}/fd"))
        _, hard = resource.prlimit(self.running.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(self.running.pid, resource.RLIMIT_NOFILE, (most + 1 + more, hard))

    def turns_in_circles(self) -> bool:
        """Whether it takes CPU time without end. Nobody asks it for anything meanwhile."""
        before = self._cpu_s()
        time.sleep(LOOK_S)
        return self._cpu_s() - before > SPIN * LOOK_S

    def warnings(self) -> int:
        return self._log.read_text().count(SHORT)

    def _cpu_s(self) -> float:
        times = self._as_measured.cpu_times()
        return float(times.user + times.system)


@pytest.fixture
def engine() -> Iterator[Process]:
    folder = Path(mkdtemp(dir="/dev/shm"))
    made = Process(folder)
    yield made
    made.running.kill()
    made.running.wait()
    rmtree(folder)


def is_greeted(peer: socket.socket, within_s: float) -> bool:
    return bool(select.select([peer], [], [], within_s)[0])


def test_without_descriptors_clients_are_served_on_and_new_ones_later(engine: Process) -> None:
    """The new ones wait; the engine goes on, and neither its log nor a core is filled with them."""
    client = EngineClient(lambda: engine.address)
    assert client.info().name == "replay"
    engine.allow_descriptors(2)
    receiver = Receiver(client)
    peers: list[socket.socket] = []
    try:
        while not engine.warnings():
            peers.append(connect_to(engine.address, WAIT_S))
            assert becomes(lambda: is_greeted(peers[-1], 0) or engine.warnings() > 0, WAIT_S)
        peers.append(connect_to(engine.address, WAIT_S))
        assert not engine.turns_in_circles()
        client.submit([(1, EngineRequest(IDS, SamplingParams(max_tokens=len(IDS), seed=0)))])
        assert receiver.has_ended(1)
        assert receiver.ids == {1: list(IDS)}
        *greeted, first, second = peers
        assert greeted
        for left, waiting in ((greeted[0], first), (first, second)):
            left.close()
            assert is_greeted(waiting, WAIT_S)
        assert engine.warnings() == 1
        assert engine.running.poll() is None
    finally:
        receiver.stop()
        for peer in peers:
            peer.close()
