"""Slots in memory that processes share: never more than there are, whoever takes them, and none is lost with a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from qwen_triton_openai.processes.shared_room import SharedRoom, new_memory

WORKERS, SLOTS = 4, 3
WAIT_S = 60.0
HASTY = """
import sys
from qwen_triton_openai.processes.shared_room import SharedRoom
memory, place = int(sys.argv[1]), int(sys.argv[2])
room, most, got = SharedRoom(memory, 1), 0, 0
for _ in range(20_000):
    if room.take_unless_waiting(1, place):
        with room._locked():
            most, got = max(most, room.taken), got + 1
        room.give_back(1, place)
print(most, got)
"""
HOLDER = """
import sys, time
from qwen_triton_openai.processes.shared_room import SharedRoom
room = SharedRoom(int(sys.argv[1]), 3)
room.take(2, 1)
with room._locked():
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = new_memory(WORKERS)
    yield descriptor
    os.close(descriptor)


def start(program: str, memory: int, *arguments: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, str(memory), *map(str, arguments)]
    return subprocess.Popen(command, pass_fds=(memory,), stdout=subprocess.PIPE, text=True)


def test_processes_that_take_at_the_same_time_never_have_more_than_there_are(memory: int) -> None:
    """One slot. It is free at the end."""
    processes = [start(HASTY, memory, place) for place in range(WORKERS)]
    found = [tuple(map(int, process.communicate(timeout=WAIT_S)[0].split())) for process in processes]
    assert {most for most, _ in found} == {1}
    assert all(got > 0 for _, got in found)
    assert SharedRoom(memory, 1).taken == 0


def test_a_killed_process_keeps_neither_the_lock_nor_its_slots(memory: int) -> None:
    room = SharedRoom(memory, SLOTS)
    with start(HOLDER, memory) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        process.send_signal(signal.SIGKILL)
    assert (room.taken, room.take(2, 0)) == (2, False)
    room.clear(1)
    assert (room.taken, room.take(2, 0), room.taken) == (0, True, 2)


def test_while_requests_wait_only_their_turn_takes_slots(memory: int) -> None:
    """Who gives slots back is told that somebody waits for them."""
    room, other = SharedRoom(memory, SLOTS), SharedRoom(memory, SLOTS)
    assert room.take_unless_waiting(2, 0)
    assert not other.take_unless_waiting(2, 1)
    assert not room.give_back(1, 0)
    other.announce(1)
    assert not room.take_unless_waiting(1, 0)
    assert other.take(1, 1)
    assert room.give_back(1, 0)
    other.announce(0)
    assert room.take_unless_waiting(2, 0)
    assert (room.taken, other.taken, room.fits(0), room.fits(1)) == (3, 3, True, False)


def test_without_a_bound_everybody_has_room(memory: int) -> None:
    room = SharedRoom(memory, 0)
    assert room.take_unless_waiting(10_000, 0)
    assert room.take(1, 3)
    assert room.taken == 10_001
