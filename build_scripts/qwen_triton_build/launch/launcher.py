"""Owns the processes of one deployment: starts them, waits until they answer, watches them, ends them in order.

    Launcher([server, shim], restarts=0, ready_timeout_s=600, say=Progress()).run(announce)   # → exit code

When one ends unasked, its last lines are shown; then the policy decides: it is started again while restarts are left,
else the others are ended and the exit code is 1. SIGTERM or SIGINT ends them last first, so that what stands
in front finishes what it accepted while that behind it still answers; a second signal ends them at once.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from qwen_triton.errors import ConfigurationError

from .child import Child

_POLL_S = 0.1
_STABLE_S = 60.0
"""A child that ran this long has its restarts back."""
_MOST_PAUSE_S = 30.0


class Progress(Protocol):
    """Where the launcher tells what happens."""

    def waiting(self, names: Sequence[str], seconds: float) -> None:
        """These are not ready yet; called several times a second."""

    def say(self, line: str) -> None:
        """One line for the operator."""


class _Stopped(Exception):
    """A signal asked us to end."""


class Launcher:
    """One run of a deployment's processes.

    `restarts`: how often each may be started again, 0 = its end is our end; `first_pause_s`: before the first of them.
    """

    def __init__(
        self,
        children: Sequence[Child],
        restarts: int,
        ready_timeout_s: float,
        progress: Progress,
        first_pause_s: float = 1.0,
    ) -> None:
        self._children = children
        self._restarts = restarts
        self._ready_timeout_s = ready_timeout_s
        self._progress = progress
        self._first_pause_s = first_pause_s
        self._failures = dict.fromkeys((child.name for child in children), 0)
        self._started = dict.fromkeys((child.name for child in children), 0.0)
        self._announced = False
        self._signals = 0

    def run(self, announce: Callable[[], None]) -> int:
        """Returns 0 after a signal, 1 when a child ended and may not be started again. `announce()`: all are ready."""
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)
        try:
            for child in self._children:
                self._start(child)
            if not self._wait_ready(self._children):
                return 1
            self._announced = True
            announce()
            return self._watch()
        except _Stopped:
            self._progress.say("stopping: requests in flight may finish; a second signal ends them")
            return 0
        finally:
            for child in reversed(self._children):
                child.stop()

    def _on_signal(self, *_: object) -> None:
        self._signals += 1
        if self._signals > 1:
            for child in self._children:
                child.kill()

    def _start(self, child: Child) -> None:
        self._started[child.name] = time.monotonic()
        child.start()

    def _wait_ready(self, children: Sequence[Child]) -> bool:
        """Whether they all got ready; False when one ended for good. Raises ConfigurationError when it takes too long."""
        began = time.monotonic()
        while True:
            late = [child for child in children if not child.ready()]
            if not late:
                return True
            waited = time.monotonic() - began
            if waited > self._ready_timeout_s:
                raise ConfigurationError(
                    f"{late[0].name} was not ready after {waited:.0f} s; its log says what it waits for"
                )
            self._progress.waiting([child.name for child in late], waited)
            self._pause(_POLL_S)
            if not self._mend_all():
                return False

    def _watch(self) -> int:
        while self._mend_all():
            self._pause(_POLL_S)
        return 1

    def _mend_all(self) -> bool:
        """Starts again what has ended; False when something ended for good."""
        return all(child.poll() is None or self._mend(child) for child in self._children)

    def _mend(self, child: Child) -> bool:
        """Tells of a child's end and starts it again, ever later; False when its restarts are used up.

        What ends before everything was ready once is not started again: it would end the same way.
        """
        for line in (*child.last_lines(), f"{child.name} ended with {_spell(child.poll())}"):
            self._progress.say(line)
        if time.monotonic() - self._started[child.name] > _STABLE_S:
            self._failures[child.name] = 0
        if not self._announced or self._failures[child.name] >= self._restarts:
            return False
        self._failures[child.name] += 1
        pause = min(self._first_pause_s * 2.0 ** (self._failures[child.name] - 1), _MOST_PAUSE_S)
        count = f"{self._failures[child.name]} of {self._restarts}"
        self._progress.say(f"{child.name}: starting it again in {pause:.0f} s ({count})")
        child.stop()
        self._pause(pause)
        self._start(child)
        return True

    def _pause(self, seconds: float) -> None:
        """Lets time pass. Raises _Stopped as soon as a signal came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self._signals:
                raise _Stopped
            time.sleep(_POLL_S)


def _spell(code: int | None) -> str:
    """An exit code as a person reads it; negative ones are signals."""
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"code {code}"
