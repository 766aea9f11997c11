"""Where a child's log goes, and what of it a person needs when the child did not come up or ended."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO, cast

_TAIL_BYTES = 64 << 10
_TELLING = ("error", "Error", "UNAVAILABLE", "qwen-triton:", "qwen-triton engine", "Failed", "failed", "mpirun")
_NOISE = ("NVML", "DCGM", "model_repository_path")
"""What tritonserver says at every start without a GPU, and words of ours in a path."""


def default_log(port: int, process: str = "tritonserver") -> Path:
    """One file for each process and port, in the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "qwen-triton" / f"{process}-{port}.log"


class ServerLog:
    """The log of one server. `target` «-» is the terminal."""

    def __init__(self, target: str) -> None:
        self.path = None if target == "-" else Path(target)
        self._file: BinaryIO | None = None

    def open(self) -> int:
        """A file descriptor that the server writes to; the log of an earlier run is replaced, of this run continued."""
        if self.path is None:
            return sys.stderr.fileno()
        if self._file is not None:
            return self._file.fileno()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = cast(BinaryIO, open(self.path, "wb"))  # noqa: SIM115  open as long as the server runs
        return self._file.fileno()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def last_line(self) -> str:
        """The newest line; empty when there is none or the log goes to the terminal anyway."""
        return next(iter(self._tail()[-1:]), "")

    def error_lines(self, most: int = 12) -> list[str]:
        """The last lines that look like a reason; none when the log went to the terminal anyway."""
        return [line for line in self._tail() if _is_telling(line)][-most:]

    def last_lines(self, most: int = 12, ending: int = 3) -> list[str]:
        """The telling lines and the very last ones, in their order; and where the rest is."""
        lines = [line for line in self._tail() if line.strip(" -|+=")]
        telling = [i for i, line in enumerate(lines) if _is_telling(line)]
        shown = sorted({*telling[ending - most :], *range(max(0, len(lines) - ending), len(lines))})
        return [*(lines[i] for i in shown), f"the whole log is in {self.path}"] if lines else []

    def _tail(self) -> list[str]:
        if self.path is None or not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()


def _is_telling(line: str) -> bool:
    return any(word in line for word in _TELLING) and not any(word in line for word in _NOISE)
