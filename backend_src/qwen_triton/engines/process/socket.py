"""Sockets between models and an engine's process: addresses, listening, the peer's user, waking a thread in select().

Knows no messages.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct

_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


def listen(address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A listening socket at an abstract Unix address («\\0name»): it leaves no file and dies with the process.

    Raises OSError where another socket has the address.
    """
    listener = socket.socket(socket.AF_UNIX, kind)
    try:
        listener.bind("\0" + address)
    except OSError:
        listener.close()
        raise
    listener.listen(64)
    listener.setblocking(False)
    return listener


def same_user(peer: socket.socket) -> bool:
    """Whether the peer runs as this process's user. Asks the kernel, because abstract addresses have no permissions."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(credentials)[1] == os.getuid())


def engine_address(server_pid: int, model: str) -> str:
    """Address of the engine of `model`: all models of a server can compute it, so nothing has to be configured.

    Includes the namespace of process ids, because containers on the host's network share abstract addresses.
    """
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return f"qwen-triton/{namespace}/{server_pid}/{model}"


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
