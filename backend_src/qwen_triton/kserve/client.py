"""A client of one gRPC server for any number of threads. One connection carries all calls; another is made when it is
lost, leaving or full."""

from __future__ import annotations

import contextlib
import queue
import ssl
import threading
from collections.abc import Iterator

from ..errors import Unavailable
from .status import CallError, ConnectError, StatusCode
from .thread_socket import ThreadSocket

_CONNECT_S = 10.0


class MessageStream:
    """The messages of one call, for one reader. `cancel` ends it from any thread; so does dropping the stream."""

    def __init__(self) -> None:
        self._inbox = _Inbox()
        self._call: tuple[ThreadSocket, int] | None = None

    def begin(self, connection: ThreadSocket, path: str, message: bytes) -> None:
        """Sends the request. Raises Unavailable when the connection takes no more calls."""
        self._call = connection, connection.call(path, message, self._inbox)

    def __iter__(self) -> Iterator[bytes]:
        """Raises CallError for an end that is not OK."""
        while (message := self.next()) is not None:
            yield message

    def next(self, timeout_s: float | None = None) -> bytes | None:
        """The next message, None at the end. Raises CallError, DEADLINE_EXCEEDED when none came in `timeout_s`."""
        try:
            item = self._inbox.items.get(timeout=timeout_s)
        except queue.Empty:
            self.cancel()
            raise CallError(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
        if isinstance(item, bytes):
            return item
        self._call = None
        self._inbox.items.put(item)  # the end stays the end, however often it is asked for
        if item.code == StatusCode.OK:
            return None
        raise CallError(item.code, item.message)

    def cancel(self) -> None:
        """Breaks the call off; its reader gets CANCELLED. Does nothing once the end has been read."""
        if (call := self._call) is not None:
            connection, stream_id = call
            connection.reset(stream_id)
            self._inbox.on_end(StatusCode.CANCELLED, "the request was cancelled")

    def __del__(self) -> None:
        if (call := self._call) is not None:
            connection, stream_id = call
            connection.abandon(stream_id)


class _Inbox:
    """A `StreamListener` that keeps what comes; apart from its stream, which a connection must not keep alive."""

    def __init__(self) -> None:
        self.items: queue.SimpleQueue[bytes | CallError] = queue.SimpleQueue()

    def on_message(self, message: bytes) -> None:
        self.items.put(message)

    def on_end(self, code: StatusCode, text: str) -> None:
        self.items.put(CallError(code, text))


class GrpcClient:
    """Connects when a call needs it; a connection that fails is tried again by the next call.

    `tls`: connections are encrypted, by that context.
    """

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._host, self._port, self._tls = host, port, tls
        self._connections: list[ThreadSocket] = []
        self._closed = False
        self._lock = threading.Lock()

    def unary(self, path: str, message: bytes, timeout_s: float | None = None) -> bytes:
        """The answer of a call with one. Raises CallError (ConnectError without a server) and Unavailable."""
        stream = self.stream(path, message)
        answer = stream.next(timeout_s)
        if answer is None or stream.next(timeout_s) is not None:
            raise CallError(StatusCode.INTERNAL, "a call that has one answer ended with none or several")
        return answer

    def stream(self, path: str, message: bytes) -> MessageStream:
        """Begins a call of one message with any number of answers. Raises ConnectError and Unavailable."""
        stream = MessageStream()
        with self._lock:
            if self._closed:
                raise CallError(StatusCode.CANCELLED, "the client is closed")
            self._connections = [connection for connection in self._connections if connection.alive]
            for connection in filter(lambda c: c.usable, self._connections):
                with contextlib.suppress(Unavailable):  # it is full, or just lost
                    stream.begin(connection, path, message)
                    return stream
            self._connections.append(self._connect())
            stream.begin(self._connections[-1], path, message)
        return stream

    def close(self) -> None:
        """Breaks off what is under way; no call can be made any more."""
        with self._lock:
            self._closed = True
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def __del__(self) -> None:
        for connection in self._connections:
            connection.hang_up()

    def _connect(self) -> ThreadSocket:
        try:
            return ThreadSocket(self._host, self._port, self._tls, _CONNECT_S)
        except ConnectionRefusedError:
            raise ConnectError("connection refused") from None
        except OSError as error:
            raise ConnectError(error.strerror or str(error)) from None
