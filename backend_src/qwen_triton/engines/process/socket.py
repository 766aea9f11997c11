"""Unix sockets between processes of a server: listening, accepting, connecting, the peer's user, waking a thread in select().

Addresses are files in a private folder (`loads.py`). Each end asks the kernel for the other's user all the same.
Knows no messages.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import selectors
import socket
import struct
import time
from typing import Any

_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_WARN_S = 60.0
"""Between two warnings of a process that lacks descriptors: it tries to accept many times a second."""
_PAUSE_S = 0.1
"""How long an entrance is closed. Its loop then runs ten times a second at most, and who waits hardly notices."""
_warned_at = -_WARN_S
_log = logging.getLogger(__name__)


def listen(address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A listening socket at the file `address`, which replaces one that an earlier process left there.

    An address that begins with a zero is abstract: it has no file, and no permissions either. Raises OSError where the
    folder does not exist, or another socket has the abstract address.
    """
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        if not address.startswith("\0"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(address)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.listen(64)
    listener.setblocking(False)
    return listener


def accept(listener: socket.socket, wish: str) -> socket.socket | None:
    """The next process of the same user that waits at a `listen` socket, as a non-blocking socket; None where none does.

    A process of another user is disconnected, and logged as one that wanted to `wish`. None too where this process has no
    descriptor left, or no memory: its peers wait on, and a warning once a minute says so. Raises nothing.
    """
    while True:
        try:
            peer, _ = listener.accept()
        except OSError as error:
            if error.errno in _SHORTAGES:
                _warn_of(error)
            return None
        if same_user(peer):
            peer.setblocking(False)
            return peer
        _log.warning("a process of another user wanted to %s; its connection is closed", wish)
        peer.close()


def _warn_of(shortage: OSError) -> None:
    global _warned_at
    if time.monotonic() - _warned_at >= _WARN_S:
        _warned_at = time.monotonic()
        _log.warning("connections have to wait, because this process can accept none: %s", shortage)


def connect_to(address: str, timeout_s: float, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A socket connected to the file `address`, whose calls may each take `timeout_s` seconds.

    Raises OSError when nothing listens there; PermissionError when a process of another user does.
    """
    peer = socket.socket(socket.AF_UNIX, kind)
    try:
        peer.settimeout(timeout_s)
        peer.connect(address)
        if not same_user(peer):
            raise PermissionError(f"a process of another user listens at {address!r}")
    except BaseException:
        peer.close()
        raise
    return peer


def same_user(peer: socket.socket) -> bool:
    """Whether the peer runs as this process's user. The kernel says so, whatever the peer may say."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(credentials)[1] == os.geteuid())


def becomes_readable(peer: socket.socket, within_s: float) -> bool:
    """Whether something arrives in time. By poll(), because select() cannot watch a descriptor above 1023."""
    poll = select.poll()
    poll.register(peer, select.POLLIN)
    return bool(poll.poll(1e3 * within_s))


class Entrance:
    """A `listen` socket in a loop's selector, which reports it with `data` when somebody waits.

    After an `accept` of nobody the selector does not watch it for 0.1 s: a process that has no descriptor for whoever waits
    would hear of them again at once, and turn in circles. All else that the selector watches is served meanwhile.
    """

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, data: Any = None) -> None:
        self._listener = listener
        self._selector = selector
        self._data = data
        self._opens_at: float | None = None
        selector.register(listener, selectors.EVENT_READ, data)

    def accept(self, wish: str) -> socket.socket | None:
        """As the function; the selector watches the peer for reading, with data that are the caller's to set (`modify`).

        None too for one that the kernel does not let it watch, because this user's processes watch too many: it is
        disconnected. To be called when the selector reports the listener.
        """
        peer = accept(self._listener, wish)
        if peer is not None:
            if self._watch(peer):
                return peer
            peer.close()
        self._selector.unregister(self._listener)
        self._opens_at = time.monotonic() + _PAUSE_S
        return None

    def wait_s(self) -> float | None:
        """Seconds that the selector may wait, None: for ever. To be asked before each wait, because it ends the pause."""
        if self._opens_at is None:
            return None
        now = time.monotonic()
        if now >= self._opens_at:
            self._opens_at = None if self._watch(self._listener, self._data) else now + _PAUSE_S
        return None if self._opens_at is None else max(0.0, self._opens_at - now)

    def _watch(self, watched: socket.socket, data: Any = None) -> bool:
        try:
            self._selector.register(watched, selectors.EVENT_READ, data)
        except OSError as error:
            _warn_of(error)
            return False
        return True


class Waker:
    """A descriptor for select() that is readable from a `wake()` of any thread until `clear()`."""

    def __init__(self) -> None:
        self._sending, self._waiting = socket.socketpair()
        self._sending.setblocking(False)
        self._waiting.setblocking(False)

    def fileno(self) -> int:
        """The descriptor that becomes readable."""
        return self._waiting.fileno()

    def wake(self) -> None:
        """Makes it readable; further calls before `clear()` change nothing."""
        with contextlib.suppress(BlockingIOError):
            self._sending.send(b"\0")

    def clear(self) -> None:
        """Makes it unreadable again."""
        with contextlib.suppress(BlockingIOError):
            self._waiting.recv(4096)
