"""Where tritonserver's log goes, and what of it a person needs when the server did not come up."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import BinaryIO, cast

_TAIL_BYTES = 64 << 10
_TELLING = ("error", "Error", "UNAVAILABLE", "qwen-triton", "Failed", "failed")


def default_log(http_port: int) -> Path:
    """One file for each port, in the user's state folder."""
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(state) / "qwen-triton" / f"tritonserver-{http_port}.log"


class ServerLog:
    """The log of one server. `target` «-» is the terminal."""

    def __init__(self, target: str) -> None:
        self.path = None if target == "-" else Path(target)
        self._file: BinaryIO | None = None

    def open(self) -> int:
        """A file descriptor that the server writes to; an older log is replaced."""
        if self.path is None:
            return sys.stderr.fileno()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = cast(BinaryIO, open(self.path, "wb"))  # noqa: SIM115  open as long as the server runs
        return self._file.fileno()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def telling_lines(self, most: int = 12) -> list[str]:
        """The last lines that look like a reason; none when the log went to the terminal anyway."""
        if self.path is None or not self.path.exists():
            return []
        text = self.path.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace")
        lines = [line for line in text.splitlines() if any(word in line for word in _TELLING)]
        return lines[-most:]
