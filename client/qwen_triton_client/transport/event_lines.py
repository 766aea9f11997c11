"""Lines of server-sent events from bytes as they arrive: they end with LF, CR or CRLF, and with nothing else.

Readers of text lines, such as httpx's, also split at U+2028, U+2029 and U+0085, which may stand within JSON.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

DATA = b"data:"


class EventLines:
    """Splits a stream of bytes into lines, without their ends."""

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._after_cr = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end within `data`. A CR ends its line at once; an LF that comes after it is part of that end."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if b"\r" in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        first, *more = data.split(b"\n")
        self._rest.append(first)
        if not more:
            return []
        lines = [b"".join(self._rest), *more]
        self._rest = [lines.pop()]
        return lines


def event_data(chunks: Iterable[bytes]) -> Iterator[str]:
    """The data of each line of a stream that has any, without the blank before it."""
    lines = EventLines()
    for chunk in chunks:
        for line in lines.feed(chunk):
            if line.startswith(DATA):
                yield line[len(DATA) :].removeprefix(b" ").decode("utf-8", "replace")
