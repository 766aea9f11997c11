"""A child process in its own session, which ends with its parent.

Its own session keeps the terminal's Ctrl-C from it, so that the parent decides the order in which its children end. The
kernel sends it SIGTERM when the parent dies, for whatever reason (PR_SET_PDEATHSIG). Its files and shared-memory regions are
its user's alone (private_files).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from .private_files import UMASK, keep_files_private

_PR_SET_PDEATHSIG = 1


def _before_it_runs() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    keep_files_private()


class ChildProcess:
    """A command that can be started, and started again after its end. Knows nothing of what the process does."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None) -> None:
        self.command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id of the latest start; 0 before the first."""
        return 0 if self._process is None else self._process.pid

    def start(self, log: int | None = None) -> None:
        """Starts the process; stdout and stderr go to the file descriptor `log`, or to those of the parent."""
        self._process = subprocess.Popen(
            self.command,
            env=self._environment,
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=UMASK,
            preexec_fn=_before_it_runs,
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
        """Sends SIGTERM."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Sends SIGKILL to every process of its session."""
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
