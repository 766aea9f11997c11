"""Lines a person types: editing, history over runs, several lines at once; or plain lines of a pipe."""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
from pathlib import Path

from .output import prompt_marks

_HISTORY_LINES = 1000
_BLOCK = '"""'


class QuestionLine:
    """Reads lines until the end. A line that begins with three quotes goes on until three quotes end one."""

    def __init__(self) -> None:
        self.interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._ended = False
        if self.interactive:
            _open_history()

    def read(self, prompt: str) -> str | None:
        """The next line, None at the end. Ctrl-C drops what was typed so far."""
        while not self._ended:
            try:
                return self._read_block(prompt)
            except KeyboardInterrupt:
                if not self.interactive:
                    raise
                print()
            except EOFError:
                if self.interactive:
                    print()
                self._ended = True
        return None

    def end(self) -> None:
        self._ended = True

    def _read_block(self, prompt: str) -> str:
        line = self._read_line(prompt)
        if not line.startswith(_BLOCK):
            return line
        lines = [line.removeprefix(_BLOCK)]
        while not lines[-1].endswith(_BLOCK):
            lines.append(self._read_line("… "))
        return "\n".join(lines).removesuffix(_BLOCK)

    def _read_line(self, prompt: str) -> str:
        return input(prompt_marks(prompt, "user")) if self.interactive else input()


def _open_history() -> None:
    """Readline's editing and a history file, where Python has readline."""
    with contextlib.suppress(ImportError):
        import readline

        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "qwen-triton"
        file = state / "chat_history"
        readline.set_history_length(_HISTORY_LINES)
        with contextlib.suppress(OSError):
            state.mkdir(parents=True, exist_ok=True)
            readline.read_history_file(file)
        atexit.register(_save_history, file)


def _save_history(file: Path) -> None:
    import readline

    with contextlib.suppress(OSError):
        readline.write_history_file(file)
        file.chmod(0o600)
