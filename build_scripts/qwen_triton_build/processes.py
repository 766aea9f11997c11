"""One process of ours: started in a session of its own, ended in order, gone when we are gone.

A session of its own, so that Ctrl-C reaches us alone and we end our children in the order that loses no answer. The
kernel sends the process SIGTERM when we die, however we die.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class ChildProcess:
    """A command that can be started, also again after its end. It does not know what the process is for."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> None:
        self.command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """0 before the first start."""
        return 0 if self._process is None else self._process.pid

    def start(self, log: int | None = None) -> None:
        """Starts the process; what it prints goes to the file descriptor `log`, or to our own output."""
        self._process = subprocess.Popen(
            self.command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def poll(self) -> int | None:
        """The exit code (negative: the signal that ended it), or None while it runs or before it is started."""
        return None if self._process is None else self._process.poll()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The exit code once it has ended; None when it still runs after `timeout_s`."""
        if self._process is None:
            return None
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def terminate(self) -> None:
        """Asks it to end (SIGTERM)."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends it and whatever is left of its session at once (SIGKILL)."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self, grace_s: float) -> int:
        """SIGTERM, then SIGKILL after `grace_s` seconds. Returns the exit code; 0 when it was never started."""
        if self._process is None:
            return 0
        self.terminate()
        if self.wait(grace_s) is None:
            self.kill()
            self._process.wait()
        return self._process.returncode
