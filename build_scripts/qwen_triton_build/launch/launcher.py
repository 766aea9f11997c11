"""Supervises the processes of one deployment: starts them, waits until they are ready, watches them, ends them in order.

    Launcher([triton, shim], restarts=0, ready_timeout_s=600, progress=progress).run(announce)   # → exit code

When a process ends unexpectedly, its last lines are shown. It is started again while restarts are left; otherwise the
others are ended and the exit code is 1. SIGTERM, SIGINT or SIGHUP ends them in reverse order, so that the shim can finish the
requests it accepted while tritonserver still answers; a second signal kills them. Knows no command line and no port.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from qwen_triton.errors import ConfigurationError

_POLL_S = 0.1
_STABLE_S = 60.0
"""A process that ran this long gets its restarts back: its next failure counts as the first."""
_MAX_PAUSE_S = 30.0
END_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""The signals that end a command gracefully; SIGHUP comes when a terminal closes."""


def handle_end_signals(handler: Callable[..., None]) -> None:
    """Sets the handler of the signals that end a command. SIGHUP stays ignored where `nohup` has made it so."""
    for name in END_SIGNALS:
        if name is not signal.SIGHUP or signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, handler)


class ManagedProcess(Protocol):
    """A process, or several that start and end together. It may be started again after `stop()`."""

    @property
    def name(self) -> str:
        """Its name in messages: `tritonserver`, `the OpenAI shim`."""

    def start(self) -> None:
        """Starts it and returns at once. Raises ConfigurationError when it cannot be started."""

    def ready(self) -> bool:
        """Whether it answers requests."""

    def poll(self) -> int | None:
        """Its exit code once it has ended; None before."""

    def stop(self) -> None:
        """Ends it gracefully: accepted requests finish within its own grace period. Leaves nothing behind; repeatable."""

    def kill(self) -> None:
        """Ends it at once; a `stop()` that waits returns."""

    def last_lines(self) -> list[str]:
        """The last lines of its log that explain its end; none when they went to the terminal."""


class LaunchProgress(Protocol):
    """Receives the progress of a launch."""

    def waiting(self, names: Sequence[str], seconds: float) -> None:
        """The processes that are not ready after `seconds`; called several times a second."""

    def report(self, line: str) -> None:
        """One line for the operator."""


class _Stopped(Exception):
    """A signal ended the launch."""


class Launcher:
    """One run of a deployment's processes.

    `restarts`: how often each process may be started again, 0 = the first end ends all; `first_pause_s`: seconds before
    the first restart, doubled for each one after it.
    """

    def __init__(
        self,
        processes: Sequence[ManagedProcess],
        restarts: int,
        ready_timeout_s: float,
        progress: LaunchProgress,
        first_pause_s: float = 1.0,
    ) -> None:
        self._processes = processes
        self._restarts = restarts
        self._ready_timeout_s = ready_timeout_s
        self._progress = progress
        self._first_pause_s = first_pause_s
        self._failures = dict.fromkeys((process.name for process in processes), 0)
        self._started = dict.fromkeys((process.name for process in processes), 0.0)
        self._announced = False
        self._signals = 0

    def run(self, announce: Callable[[], None]) -> int:
        """Returns 0 after a signal, 1 when a process ended and has no restarts left. Calls `announce()` when all are ready.

        Raises ConfigurationError when they are not ready in time.
        """
        handle_end_signals(self._on_signal)
        try:
            for process in self._processes:
                self._start(process)
            if not self._wait_ready():
                return 1
            self._announced = True
            announce()
            return self._watch()
        except _Stopped:
            self._progress.report("stopping: requests in flight may finish; a second signal ends them")
            return 0
        finally:
            for process in reversed(self._processes):
                process.stop()

    def _on_signal(self, *_: object) -> None:
        self._signals += 1
        if self._signals > 1:
            for process in self._processes:
                process.kill()

    def _start(self, process: ManagedProcess) -> None:
        self._started[process.name] = time.monotonic()
        process.start()

    def _wait_ready(self) -> bool:
        """True when all are ready, False when one ended before. Raises ConfigurationError after `ready_timeout_s`."""
        began = time.monotonic()
        while True:
            late = [process for process in self._processes if not process.ready()]
            if not late:
                return True
            waited = time.monotonic() - began
            if waited > self._ready_timeout_s:
                raise ConfigurationError(
                    f"{late[0].name} was not ready after {waited:.0f} s; its log says what it waits for"
                )
            self._progress.waiting([process.name for process in late], waited)
            self._pause(_POLL_S)
            if not self._restart_ended():
                return False

    def _watch(self) -> int:
        while self._restart_ended():
            self._pause(_POLL_S)
        return 1

    def _restart_ended(self) -> bool:
        """Starts every process again that has ended; False when one has no restarts left."""
        return all(process.poll() is None or self._restart(process) for process in self._processes)

    def _restart(self, process: ManagedProcess) -> bool:
        """Reports a process's end and starts it again after a pause; False when its restarts are used up.

        A process that ends before all were ready is not started again: it would end the same way.
        """
        for line in (*process.last_lines(), f"{process.name} ended with {_describe(process.poll())}"):
            self._progress.report(line)
        if time.monotonic() - self._started[process.name] > _STABLE_S:
            self._failures[process.name] = 0
        if not self._announced or self._failures[process.name] >= self._restarts:
            return False
        self._failures[process.name] += 1
        pause = min(self._first_pause_s * 2.0 ** (self._failures[process.name] - 1), _MAX_PAUSE_S)
        count = f"{self._failures[process.name]} of {self._restarts}"
        self._progress.report(f"{process.name}: starting it again in {pause:.0f} s ({count})")
        process.stop()
        self._pause(pause)
        self._start(process)
        return True

    def _pause(self, seconds: float) -> None:
        """Sleeps. Raises _Stopped within 0.1 s of a signal."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._signals:
                raise _Stopped
            time.sleep(_POLL_S)


def _describe(code: int | None) -> str:
    """An exit code for a message; negative ones are signals."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"code {code}"
