"""That what one caller sends harms nobody: the memory of the server's processes, their lives, and a neighbour's answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from qwen_triton.tensors.contract import BLS
from tests.support.live.client import generate
from tests.support.live.servers import LiveServer

GROWN_MIB = 1024
"""What one process may keep: tritonserver keeps a few of the largest bodies, our models a copy of one."""
NEIGHBOUR_S = 15.0


def resident_mib(server: LiveServer) -> dict[int, int]:
    first = psutil.Process(server.pid)
    return {p.pid: p.memory_info().rss >> 20 for p in (first, *first.children(recursive=True))}


@contextmanager
def unharmed(server: LiveServer) -> Iterator[None]:
    """Within it the memory of the server's processes stays bounded, all of them live, and a neighbour is answered."""
    before, waits, over = resident_mib(server), [0.0], threading.Event()

    def ask() -> None:
        while not over.is_set():
            asked = time.monotonic()
            assert generate(server, BLS, text_input="near", max_tokens=4)["text_output"] == "near"
            waits.append(time.monotonic() - asked)

    neighbour = threading.Thread(target=ask)
    neighbour.start()
    try:
        yield
    finally:
        over.set()
        neighbour.join(60)
    after = resident_mib(server)
    assert after.keys() == before.keys()
    assert {pid: after[pid] - before[pid] for pid in before if after[pid] - before[pid] > GROWN_MIB} == {}
    assert len(waits) > 1
    assert max(waits) < NEIGHBOUR_S
