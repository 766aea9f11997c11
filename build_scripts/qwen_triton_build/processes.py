"""A child process in its own session, which ends with its parent.

Its own session keeps the terminal's Ctrl-C from it, so that the parent decides the order in which its children end. The
kernel sends it SIGTERM when the parent dies, for whatever reason (PR_SET_PDEATHSIG). Its files and shared-memory regions are
its user's alone (private_files).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from .private_files import UMASK, keep_files_private

_PR_SET_PDEATHSIG = 1


_MOST_DESCRIPTORS = 1 << 20


def raise_descriptor_limit() -> None:
    """Raises this process's soft limit of open files to the hard one; its children inherit it.

    Each connection is an open file, and the usual soft limit of 1024 is less than one port may get.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _prepare_child(stack_bytes: int) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    keep_files_private()
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    wanted = stack_bytes if hard == resource.RLIM_INFINITY else min(stack_bytes, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_STACK, (wanted, hard))


class ChildProcess:
    """A command that can be started, and started again after its end. Knows nothing of what the process does.

    `stack_bytes`: the least that the stack of each of its threads may grow to, where the hard limit allows it.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None, stack_bytes: int = 0
    ) -> None:
        self.command = list(command)
        self._stack_bytes = stack_bytes
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
            preexec_fn=partial(_prepare_child, self._stack_bytes),
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
