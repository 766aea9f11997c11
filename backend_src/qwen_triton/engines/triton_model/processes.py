"""Watches the processes of a model of Triton's Python backend.

When one of them ends, the server leaves the requests in it without a response. A C++ backend runs in the server's own
process and has none.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_STUB = "triton_python_backend_stub"


class ModelProcesses:
    """`descriptors` become readable when a process ends. `find` opens new ones once they are closed."""

    def __init__(self, server_pid: int, model: str) -> None:
        self._server_pid = server_pid
        self._model = model
        self.descriptors: list[int] = []

    def find(self) -> None:
        """Finds the processes, unless some are watched."""
        if not self.descriptors:
            self.descriptors = [os.pidfd_open(pid) for pid in find_processes(self._server_pid, self._model)]

    def close(self) -> None:
        """Stops watching."""
        found, self.descriptors = self.descriptors, []
        for descriptor in found:
            os.close(descriptor)


def find_processes(server_pid: int, model: str) -> list[int]:
    """The process ids of the server's children that run `model`, one for each instance."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile, or belongs to another user
            if process.name.isdigit() and _runs(process, model) and _parent(process) == server_pid:
                found.append(int(process.name))
    return found


def _runs(process: Path, model: str) -> bool:
    words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return words[0].endswith(_STUB) and any(f"/{model}/" in word for word in words[1:2])


def _parent(process: Path) -> int:
    """The second field behind the name, which is in brackets and may contain any character."""
    return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
