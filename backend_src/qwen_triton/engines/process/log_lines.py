"""Log lines that a caller cannot forge: whatever a line quotes, it stays one line and of bounded length."""

from __future__ import annotations

import logging
import re
from typing import TextIO

_UNSEEN = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb]"
)
"""Control characters, line ends of any alphabet, marks that reverse or hide what follows, and lone surrogates."""
_LONGEST = 8192
_INDENT = "    "


def escaped(text: str) -> str:
    """`text` without characters that end a line or are not seen: they become \\uXXXX, as in JSON."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def one_line(text: str, most: int = _LONGEST) -> str:
    """`text` escaped and cut to `most` characters."""
    shown = escaped(text[:most])
    return shown if len(text) <= most else f"{shown}… ({len(text)} characters)"


class LineFormatter(logging.Formatter):
    """A formatter whose messages are one line; the lines of a traceback are indented, so that none looks like a message."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  overrides logging's
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802  overrides logging's
        lines = super().formatException(ei).splitlines()  # type: ignore[arg-type]  # logging's own type of exc_info
        return "\n".join(_INDENT + one_line(line) for line in lines)


def start_logging(format_: str, stream: TextIO | None = None) -> None:
    """Sets up the log of this process: from INFO on, to `stream` (default: standard error)."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(format_))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
