"""Ends another thread's wait in select()."""

from __future__ import annotations

import contextlib
import socket


class Waker:
    """Something to select() for that becomes readable when any thread calls `wake()`, until `clear()`."""

    def __init__(self) -> None:
        self._sending, self._waiting = socket.socketpair()
        self._sending.setblocking(False)
        self._waiting.setblocking(False)

    def fileno(self) -> int:
        return self._waiting.fileno()

    def wake(self) -> None:
        """Makes it readable; a thousand calls before a `clear()` are one."""
        with contextlib.suppress(BlockingIOError):
            self._sending.send(b"\0")

    def clear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._waiting.recv(4096)
