"""A connection to a gRPC server with a thread that reads it: any thread may open calls, listeners get what comes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections import deque

from .connection import GrpcConnection, authority
from .events import Ended, StreamListener, deliver
from .status import StatusCode
from .tls import TlsClient

_READ = 1 << 20


class ThreadSocket:
    """Connects when it is made, within `timeout_s`. Raises OSError when that fails.

    `tls`: the connection is encrypted, by that context. Listeners are called from the reading thread.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None, timeout_s: float = 10.0) -> None:
        self._lock = threading.Lock()
        self._listeners: dict[int, StreamListener] = {}
        self._abandoned: deque[int] = deque()
        self._socket = socket.create_connection((host, port), timeout_s)
        try:
            self._tls = self._encrypted(host, tls) if tls is not None else None
            self._socket.settimeout(None)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            self._socket.close()
            raise
        self._grpc = GrpcConnection(authority(host, port), "http" if tls is None else "https")
        self._write()
        self._reader = threading.Thread(target=self._read, name="grpc answers", daemon=True)
        self._reader.start()

    @property
    def usable(self) -> bool:
        """Whether calls can be opened."""
        return self._grpc.usable

    @property
    def alive(self) -> bool:
        """Whether calls can be opened, or some are under way after the server's goodbye."""
        return self._reader.is_alive()

    def open(self, path: str, listener: StreamListener) -> int:
        """Begins a call to which messages are sent one by one; returns its stream id. Raises Unavailable."""
        with self._lock:
            stream_id = self._open(path, listener)
            self._write()
        self._reset_abandoned()
        return stream_id

    def call(self, path: str, message: bytes, listener: StreamListener) -> int:
        """Begins a call of one message; returns its stream id. Raises Unavailable."""
        with self._lock:
            stream_id = self._open(path, listener)
            self._grpc.send(stream_id, message)
            self._grpc.half_close(stream_id)
            self._write()
        self._reset_abandoned()
        return stream_id

    def send(self, stream_id: int, message: bytes) -> None:
        """Sends a message, or keeps it until the server has room. Does nothing once the call has ended."""
        with self._lock:
            self._grpc.send(stream_id, message)
            self._write()
        self._reset_abandoned()

    def reset(self, stream_id: int) -> None:
        """Breaks a call off: the server sees it cancelled, its listener gets nothing more."""
        self._listeners.pop(stream_id, None)
        with self._lock:
            self._grpc.reset(stream_id)
            self._write()
        self._reset_abandoned()

    def abandon(self, stream_id: int) -> None:
        """The same for a finalizer, which may run in a thread that holds the lock: waits for nothing."""
        self._listeners.pop(stream_id, None)
        self._abandoned.append(stream_id)
        self._reset_abandoned()

    def hang_up(self) -> None:
        """Ends the connection and with it all calls, as lost. Waits for nothing."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Breaks off all calls, which end as cancelled, and waits for the thread. Not to be called by a listener."""
        with self._lock:
            for stream_id in list(self._listeners):
                self._grpc.reset(stream_id)
            self._write()
        self.hang_up()
        self._reader.join()
        ends = [Ended(s, StatusCode.CANCELLED, "the connection was closed by this client") for s in self._listeners]
        deliver(ends, self._listeners)

    def _open(self, path: str, listener: StreamListener) -> int:
        stream_id = self._grpc.open(path)
        self._listeners[stream_id] = listener
        return stream_id

    def _encrypted(self, host: str, context: ssl.SSLContext) -> TlsClient:
        session = TlsClient(host, context)
        session.handshake(self._socket)
        return session

    def _reset_abandoned(self) -> None:
        """Called after each use of the lock, so that a stream abandoned during it is reset by whoever held it."""
        while self._abandoned and self._lock.acquire(blocking=False):
            try:
                while self._abandoned:
                    self._grpc.reset(self._abandoned.popleft())
                self._write()
            finally:
                self._lock.release()

    def _write(self) -> None:
        if data := self._grpc.data_to_send():
            with contextlib.suppress(OSError):  # the reading thread sees the connection's end
                self._socket.sendall(data if self._tls is None else self._tls.encrypt(data))

    def _read(self) -> None:
        reason = "the connection was closed"
        try:
            while data := self._socket.recv(_READ):
                self._receive(data)
                if not self._grpc.usable and not self._listeners:
                    break
        except OSError as error:
            reason = str(error)
        with self._lock:
            ends = self._grpc.lost(reason)
            self._socket.close()
        deliver(ends, self._listeners)

    def _receive(self, data: bytes) -> None:
        with self._lock:
            events = self._grpc.receive(data if self._tls is None else self._tls.decrypt(data))
            self._write()
        self._reset_abandoned()
        deliver(events, self._listeners)
