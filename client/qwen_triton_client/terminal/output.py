"""Output to a terminal: colours where the stream is one, and no control characters out of a model's answer."""

from __future__ import annotations

import os
import re
import sys
from typing import TextIO

from qwen_triton.types import Usage

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_STYLES = {"dim": "2", "bold": "1", "user": "1;32", "call": "36", "error": "31"}


class Terminal:
    """Writes to a stream; styles only when it is a terminal (and NO_COLOR is not set)."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.is_terminal = stream.isatty()
        self._styled = self.is_terminal and not os.environ.get("NO_COLOR")

    def write(self, text: str, style: str = "") -> None:
        """Text of a model or a server, as it comes."""
        shown = _CONTROL.sub("", text) if self.is_terminal else text
        self._stream.write(self.styled(shown, style))
        self._stream.flush()

    def line(self, text: str = "", style: str = "") -> None:
        self.write(text, style)
        self._stream.write("\n")
        self._stream.flush()

    def styled(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if style and self._styled and text else text


def prompt_marks(text: str, style: str) -> str:
    """A prompt for readline, with its escape codes marked as taking no columns."""
    return f"\001\x1b[{_STYLES[style]}m\002{text}\001\x1b[0m\002" if sys.stdout.isatty() else text


def summary(finish: str | None, usage: Usage | None, seconds: float) -> str:
    """How an answer ended, in one line."""
    parts = [finish or "ended"]
    if usage is not None:
        cached = f" ({usage.cached_tokens} cached)" if usage.cached_tokens else ""
        parts.append(f"{usage.prompt_tokens}{cached} + {usage.completion_tokens} tokens")
        if seconds > 0:
            parts.append(f"{usage.completion_tokens / seconds:.0f} tokens/s")
    return f"[{', '.join(parts)}, {seconds:.1f} s]"
