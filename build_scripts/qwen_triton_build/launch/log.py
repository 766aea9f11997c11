"""The log file of a managed process, and the lines of it that explain a failed start or an unexpected end."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO

from qwen_triton.errors import ConfigurationError

_TAIL_BYTES = 64 << 10
_ERROR_WORDS = ("error", "Error", "UNAVAILABLE", "qwen-triton:", "qwen-triton engine", "Failed", "failed", "mpirun")
_NOISE = ("NVML", "DCGM", "model_repository_path")
"""Words of lines that are no errors: tritonserver prints the first two at every start without a GPU."""


def default_log(port: int, process: str = "tritonserver") -> Path:
    """The log's default path: a file for each process and port in the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "qwen-triton" / f"{process}-{port}.log"


class ServerLog:
    """The log of one process. `target` «-» is the terminal."""

    def __init__(self, target: str) -> None:
        self.path = None if target == "-" else Path(target)
        self._file: BinaryIO | None = None

    def open(self) -> int:
        """A file descriptor for the process. The log of an earlier run is replaced, that of this run continued.

        A new file is its user's alone; one that is there keeps its mode. Raises ConfigurationError for a file that cannot
        be written.
        """
        if self.path is None:
            return sys.stderr.fileno()
        if self._file is not None:
            return self._file.fileno()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.fdopen(
                os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb"
            )
        except OSError as error:
            raise ConfigurationError(
                f"the log {self.path} cannot be written ({error.strerror}); give --log FILE, or --log - for the terminal"
            ) from None
        return self._file.fileno()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def last_line(self) -> str:
        """The newest line; empty when there is none or the log goes to the terminal."""
        return next(iter(self._tail()[-1:]), "")

    def error_lines(self, most: int = 12) -> list[str]:
        """The last lines that look like errors; none when the log goes to the terminal."""
        return [line for line in self._tail() if _is_error(line)][-most:]

    def last_lines(self, most: int = 12, ending: int = 3) -> list[str]:
        """The error lines and the last `ending` lines, in order, and the path of the whole log."""
        lines = [line for line in self._tail() if line.strip(" -|+=")]
        errors = [i for i, line in enumerate(lines) if _is_error(line)]
        shown = sorted({*errors[ending - most :], *range(max(0, len(lines) - ending), len(lines))})
        return [*(lines[i] for i in shown), f"the whole log is in {self.path}"] if lines else []

    def _tail(self) -> list[str]:
        if self.path is None or not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - _TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()


def _is_error(line: str) -> bool:
    return any(word in line for word in _ERROR_WORDS) and not any(word in line for word in _NOISE)
