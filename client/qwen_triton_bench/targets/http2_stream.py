"""One gRPC call with streams both ways, for a reader that must cost little: a load tool shares the machine's cores.

The grpc package takes a wake-up of two threads for each message, 120 µs where this takes 10. Knows nothing of what the
messages mean, and no TLS.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable

from qwen_triton.kserve.connection import GrpcConnection
from qwen_triton.kserve.events import Event, Message

_READ = 1 << 20
_CONNECT_S = 10.0


class Http2Stream:
    """A call to `path`. `on_message` gets each message's bytes, `on_end` once why nothing more comes; on one thread."""

    def __init__(
        self, host: str, port: int, path: str, on_message: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._lock = threading.Lock()
        self._socket = socket.create_connection((host, port), _CONNECT_S)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = GrpcConnection(f"{host}:{port}")
        self._call = self._connection.open(path)
        self._write()
        self._reader = threading.Thread(target=self._read, name="answers", daemon=True)
        self._reader.start()

    def send(self, message: bytes) -> None:
        """Sends a message, or keeps it until the server has room; any thread."""
        with self._lock:
            self._connection.send(self._call, message)
            self._write()

    def close(self) -> None:
        """Breaks the call off: the server sees a cancelled call."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.reset(self._call)
            self._write()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _write(self) -> None:
        if data := self._connection.data_to_send():
            self._socket.sendall(data)

    def _read(self) -> None:
        reason = "the connection was closed"
        try:
            while data := self._socket.recv(_READ):
                if ended := self._take(self._receive(data)):
                    reason = ended
                    break
        except OSError as error:
            reason = str(error)
        self._on_end(reason)

    def _receive(self, data: bytes) -> list[Event]:
        with self._lock:
            events = self._connection.receive(data)
            self._write()
        return events

    def _take(self, events: list[Event]) -> str:
        """Hands the messages on; why the call has ended, if it has."""
        for event in events:
            if isinstance(event, Message):
                self._on_message(event.data)
            else:
                return event.message or f"grpc-status {event.code}"
        return ""
