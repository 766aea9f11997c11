"""A process one of whose threads stays in a handler of a fatal signal is noticed; no other is."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from qwen_triton_build.launch.crash_watch import CrashWatch

CODE = """
import signal, sys, threading, time
def block():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signals})
    print(flush=True)
    time.sleep(600)
threading.Thread(target=block, daemon=True).start()
sys.stdin.read()
"""
EARLY_S, LATE_S = 1.0, 6.0
"""After the first look and before the second; after the second."""


@contextmanager
def blocking(signals: set[int]) -> Iterator[subprocess.Popen[bytes]]:
    """A process with a thread that blocks them, as the kernel does for a handler."""
    command = [sys.executable, "-c", CODE.format(signals=signals or "()")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


@pytest.mark.parametrize("fatal", [signal.SIGABRT, signal.SIGSEGV])
def test_a_handler_that_does_not_return_is_found_at_the_second_look(fatal: signal.Signals) -> None:
    now = 0.0
    with blocking({fatal.value}) as process, blocking(set()) as other:
        watch = CrashWatch(lambda: [other.pid, process.pid], lambda: now)
        assert watch.crashed() is None
        now = EARLY_S
        assert watch.crashed() is None
        now = LATE_S
        assert watch.crashed() == fatal


@pytest.mark.parametrize(
    "signals",
    [set(), set(signal.valid_signals()), {signal.SIGTERM.value}, {signal.SIGABRT.value, signal.SIGTERM.value}],
    ids=["none", "all", "SIGTERM", "SIGABRT and SIGTERM"],
)
def test_other_masks_are_no_handlers(signals: set[int]) -> None:
    now = 0.0
    with blocking({int(number) for number in signals}) as process:
        watch = CrashWatch(lambda: [process.pid], lambda: now)
        for _ in range(3):
            assert watch.crashed() is None
            now += LATE_S


def test_a_handler_that_ends_in_time_is_none_that_hangs() -> None:
    """Seen once, gone at the next look; a process that has ended is no fault of the watch's."""
    now = 0.0
    with blocking({signal.SIGABRT.value}) as process:
        watch = CrashWatch(lambda: [process.pid], lambda: now)
        assert watch.crashed() is None
    now = LATE_S
    assert watch.crashed() is None
