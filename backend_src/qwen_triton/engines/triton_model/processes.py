"""The processes of a model of Triton's Python backend, watched for their end: the server answers nobody who waits then.

A backend in C++ lives in the server's own process and has none.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

_STUB = "triton_python_backend_stub"


class ModelProcesses:
    """Descriptors that become readable when a process ends. Found anew by `find` once they are closed."""

    def __init__(self, server_pid: int, model: str) -> None:
        self._server_pid = server_pid
        self._model = model
        self.descriptors: list[int] = []

    def find(self) -> None:
        """Looks for them, unless some are watched."""
        if not self.descriptors:
            self.descriptors = [os.pidfd_open(pid) for pid in find_processes(self._server_pid, self._model)]

    def close(self) -> None:
        """Watches none of them any more."""
        found, self.descriptors = self.descriptors, []
        for descriptor in found:
            os.close(descriptor)


def find_processes(server_pid: int, model: str) -> list[int]:
    """The server's children that run `model`, one for each instance."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile, or is not ours
            if process.name.isdigit() and _runs(process, model) and _parent(process) == server_pid:
                found.append(int(process.name))
    return found


def _runs(process: Path, model: str) -> bool:
    words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return words[0].endswith(_STUB) and any(f"/{model}/" in word for word in words[1:2])


def _parent(process: Path) -> int:
    """The second field after the name, which stands in brackets and may hold anything."""
    return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
