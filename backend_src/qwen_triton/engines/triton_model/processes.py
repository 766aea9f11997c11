"""Watches the processes of a model of Triton's Python backend.

When one of them dies, the server leaves the requests in it without a response. One that ends because the model was loaded
again has none left. A C++ backend runs in the server's own process and has none.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

_STUB = "triton_python_backend_stub"


class ModelProcesses:
    """`descriptors` become readable when a process ends. `find` opens new ones once they are closed.

    `folder`: the model's own, in its repository.
    """

    def __init__(self, server_pid: int, folder: Path) -> None:
        self._server_pid = server_pid
        self._folder = folder
        self._watched: set[int] = set()
        self.descriptors: list[int] = []

    def find(self) -> None:
        """Finds the processes, unless some are watched."""
        if not self.descriptors:
            self._watch(find_processes(self._server_pid, self._folder))

    def replaced(self) -> bool:
        """Whether, now that one has ended, the model has processes that are new: it was loaded again. Watches them then."""
        found = find_processes(self._server_pid, self._folder)
        if self._watched.issuperset(found):
            return False
        self.close()
        self._watch(found)
        return True

    def _watch(self, pids: Sequence[int]) -> None:
        self._watched = set(pids)
        self.descriptors = []
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                self.descriptors.append(os.pidfd_open(pid))

    def close(self) -> None:
        """Stops watching."""
        found, self.descriptors = self.descriptors, []
        for descriptor in found:
            os.close(descriptor)


def find_processes(server_pid: int, folder: Path) -> list[int]:
    """The process ids of the server's children that run the model in `folder`, one for each instance."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):  # it has ended meanwhile, or belongs to another user
            if process.name.isdigit() and _runs(process, folder) and _parent(process) == server_pid:
                found.append(int(process.name))
    return found


def _runs(process: Path, folder: Path) -> bool:
    words = (process / "cmdline").read_text(encoding="utf-8", errors="replace").split("\0")
    return words[0].endswith(_STUB) and any(word.startswith(f"{folder}/") for word in words[1:2])


def _parent(process: Path) -> int:
    """The second field behind the name, which is in brackets and may contain any character."""
    return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[1])
