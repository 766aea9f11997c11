"""Unix sockets between processes of a server: listening, connecting, the peer's user, waking a thread in select().

Addresses are files in a private folder (`loads.py`). Each end asks the kernel for the other's user all the same.
Knows no messages.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


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
