"""A test's process without file descriptors, and how much CPU time it takes then."""

from __future__ import annotations

import errno
import gc
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qwen_triton.engines.process import socket as socket_module

MOST = 1024
LOOK_S = 1.0
SPIN = 0.5
"""The share of a core that no process takes while it waits, on any machine. A loop that turns in circles takes all of it."""
SHORT = "connections have to wait, because this process can accept none: [Errno 24] Too many open files"


@contextmanager
def no_descriptors(but: int) -> Iterator[None]:
    """Meanwhile this process can open `but` files and sockets, and none after them.

    What earlier tests have left to the garbage collector is closed before, because it would be free meanwhile.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    gc.collect()
    gc.disable()
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(MOST, soft), hard))
        _take_all(taken)
        for _ in range(but):
            os.close(taken.pop())
        yield
    finally:
        gc.enable()
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _take_all(taken: list[int]) -> None:
    while True:
        try:
            taken.append(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            if error.errno != errno.EMFILE:
                raise
            return


def turns_in_circles() -> bool:
    """Whether a thread of this process takes CPU time without end, while the test does nothing."""
    before = time.process_time()
    time.sleep(LOOK_S)
    return time.process_time() - before > SPIN * LOOK_S


def warns_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the next shortage one that is told, as in a new process."""
    monkeypatch.setattr(socket_module, "_warned_at", -socket_module._WARN_S)
