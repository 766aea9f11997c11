"""The sockets between models and an engine process: the address, listening, who the peer is, waking a thread that waits."""

from __future__ import annotations

import contextlib
import os
import socket
import struct

_PEER = struct.Struct("3i")  # pid, uid, gid of SO_PEERCRED


def listen(address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """A listening socket at an abstract Unix address («\\0name»): it leaves no file and dies with the process.

    Raises OSError where another has the address.
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
    """Abstract addresses carry no file permissions, so the kernel is asked who is calling."""
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(credentials)[1] == os.getuid())


def engine_address(server_pid: int, model: str) -> str:
    """Where the engine of `model` listens: one per server, known to all of the server's models without being told.

    Containers on the host's network share these addresses but not their process ids, hence the namespace.
    """
    namespace = os.stat("/proc/self/ns/pid").st_ino
    return f"qwen-triton/{namespace}/{server_pid}/{model}"


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
