"""A model's link to the processes of an engine model: submits sequences and receives their chunks.

Any thread may submit and cancel; one thread receives. New sequences go to the current engine. While a model is reloaded
there are two: those of the former one run to their end, and then its connection is closed. When an engine's process
ends, every sequence in it is refused as Unavailable, and the next submit connects again; the supervisor restarts the
process meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import EngineError, InvalidRequest, Unavailable
from ...types import EngineRequest
from ..engine import EngineInfo
from ..link import ChunkReceiver
from .messages import MessageReader, decode_chunk, encode_message, encode_request
from .socket import Waker, connect_to

_READ = 1 << 18
_HELLO_S = 5.0
_RETRY_S = 0.02
_ENDED = "the engine's process ended while it answered; it is being started again, try again"
_EXPIRED = "no slot of the engine was free within the request's timeout; try again later"
_log = logging.getLogger(__name__)


def connect(address: str) -> tuple[socket.socket, EngineInfo, MessageReader]:
    """Connects to an engine's process and reads its facts.

    Raises OSError when nothing listens at `address`, PermissionError when a process of another user does.
    """
    connection = _Connection(address)
    return connection.peer, connection.info, connection.reader


class _Connection:
    """One connection to an engine's process. `leaving`: takes no new sequences, because the engine ends after it."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.reader = MessageReader()
        self.in_flight: set[int] = set()
        self.leaving = False
        self.peer = connect_to(address, _HELLO_S)
        try:
            self.info = self._read_hello()
            self.peer.settimeout(None)
        except BaseException:
            self.peer.close()
            raise

    def _read_hello(self) -> EngineInfo:
        while data := self.peer.recv(_READ):
            for kind, facts, leaving in self.reader.feed(data):
                if kind == "hello":
                    self.leaving = leaving
                    return EngineInfo(**facts)
        raise ConnectionError("the engine closed the connection before it sent its facts")

    def fileno(self) -> int:
        return self.peer.fileno()

    def write(self, data: bytes) -> None:
        try:
            self.peer.sendall(data)
        except OSError:
            self.end()

    def end(self) -> None:
        """Makes the receiving thread read the end of the connection, which closes it."""
        self.leaving = True
        with contextlib.suppress(OSError):
            self.peer.shutdown(socket.SHUT_RDWR)


class EngineClient:
    """An EngineLink to the engine that listens at the address which `locate()` returns, None while there is none.

    `connect_s`: seconds that a submit waits for an engine that is starting, counted from when it was first missed.
    """

    def __init__(self, locate: Callable[[], str | None], connect_s: float = 10.0) -> None:
        self._locate = locate
        self._connect_s = connect_s
        self._connecting = threading.Lock()
        """Held while a thread waits for an engine; `_lock` never is, so that others may cancel and fail meanwhile."""
        self._missed_at = self._asked_at = -connect_s
        """When an engine was first missed, and when one was last asked for; an engine long missed is not waited for."""
        self._lock = threading.Lock()
        self._current: _Connection | None = None
        self._connections: tuple[_Connection, ...] = ()
        self._lost: list[int] = []
        self._waker = Waker()

    def info(self) -> EngineInfo:
        """The current engine's facts. Raises Unavailable when no engine answers within `connect_s`."""
        return self._connected().info

    def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        """Sends (key, request) pairs together. Raises Unavailable when no engine answers within `connect_s`."""
        keys = [key for key, _ in requests]
        data = b"".join(encode_message("add", key, encode_request(request)) for key, request in requests)
        while True:
            connection = self._connected()
            with self._lock:
                if connection.leaving:  # since it was looked up
                    continue
                connection.in_flight.update(keys)
                connection.write(data)
                return

    def cancel(self, key: int) -> None:
        """Ends a sequence; chunks already under way may still arrive. Ignores an unknown key, also that of a submit under way.

        Nearly all keys are unknown, because their sequence has had its last chunk: those wait for no submit.
        """
        if not any(key in connection.in_flight for connection in self._connections):
            return
        with self._lock:
            for connection in self._connections:
                if key in connection.in_flight:
                    connection.in_flight.discard(key)
                    connection.write(encode_message("cancel", key))
                    if connection.leaving:
                        self.wake()

    def finish(self, key: int) -> bool:
        """Asks for the end of a sequence with finish «cancelled» and all its tokens; False for one that is not in flight."""
        with self._lock:
            for connection in self._connections:
                if key in connection.in_flight:
                    connection.write(encode_message("finish", key))
                    return True
        return False

    def wake(self) -> None:
        """Makes a receive() that waits return at once."""
        self._waker.wake()

    def close(self) -> None:
        """Closes the connections; sequences in flight are lost."""
        for connection in self._connections:
            self._drop(connection)

    def receive(self, receiver: ChunkReceiver, timeout_s: float | None) -> None:
        """Hands over what has arrived, waiting up to `timeout_s` seconds for something (None: until woken)."""
        connections = self._connections
        if not self._lost:
            watched: list[Waker | _Connection] = [self._waker, *connections]
            for ready in select.select(watched, [], [], timeout_s)[0]:
                if isinstance(ready, _Connection):
                    self._read(ready, receiver)
                else:
                    self._waker.clear()
        for connection in connections:
            if connection.leaving and not connection.in_flight:
                self._drop(connection)
        if self._lost:
            self._fail_lost(receiver)

    def _read(self, connection: _Connection, receiver: ChunkReceiver) -> None:
        try:
            data = connection.peer.recv(_READ)
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        for kind, *parts in connection.reader.feed(data):
            if kind == "step":
                self._read_step(connection, parts[0], receiver)
            elif kind == "refused":
                key, field, message = parts
                connection.in_flight.discard(key)
                receiver.on_refusal(key, _as_invalid(field, message))
            elif kind == "expired":
                connection.in_flight.discard(parts[0])
                receiver.on_refusal(parts[0], Unavailable(_EXPIRED))
            elif kind == "leaving":
                with self._lock:
                    connection.leaving = True

    def _read_step(self, connection: _Connection, items: list[list[Any]], receiver: ChunkReceiver) -> None:
        for item in items:
            chunk = decode_chunk(item)
            if chunk.finish and chunk.last:
                connection.in_flight.discard(item[0])
            receiver.on_chunk(item[0], chunk)

    def _fail_lost(self, receiver: ChunkReceiver) -> None:
        with self._lock:
            lost, self._lost = self._lost, []
        for key in lost:
            receiver.on_refusal(key, Unavailable(_ENDED))

    def _drop(self, connection: _Connection) -> None:
        """Closes a connection; sequences in it are lost. On the receiving thread, which alone waits for it."""
        with self._lock:
            if connection not in self._connections:
                return
            connection.end()
            connection.peer.close()
            self._connections = tuple(other for other in self._connections if other is not connection)
            if self._current is connection:
                self._current = None
            self._lost += connection.in_flight
            connection.in_flight = set()

    def _connected(self) -> _Connection:
        """The connection for new sequences. Raises Unavailable when no engine answers within `connect_s`."""
        with self._connecting:
            while True:
                address, current = self._locate(), self._current
                if current is not None and current.leaving:
                    current = None
                if address is not None and (current is None or current.address != address):
                    current = self._connect(address) or current
                now = time.monotonic()
                if current is not None or now - self._asked_at > self._connect_s:
                    self._missed_at = now
                self._asked_at = now
                if current is not None:
                    return current
                if now - self._missed_at > self._connect_s:
                    raise Unavailable("the engine is not running; it may be starting, try again")
                time.sleep(_RETRY_S)

    def _connect(self, address: str) -> _Connection | None:
        """A new current connection; sequences in the former one run to their end. None where no engine takes new ones."""
        try:
            connection = _Connection(address)
        except PermissionError as error:
            _log.error("not connected to the engine: %s", error)
            return None
        except OSError:
            return None
        if connection.leaving:
            connection.peer.close()
            return None
        with self._lock:
            if self._current is not None:
                self._current.leaving = True
            self._current = connection
            self._connections = (*self._connections, connection)
        self.wake()
        return connection


def _as_invalid(field: str, message: str) -> InvalidRequest:
    return InvalidRequest(message.removeprefix(f"{field}: "), field)


def read_counters(address: str) -> dict[str, Any]:
    """The engine's `Counters` as a dict, over a new connection. Raises EngineError when no engine answers."""
    try:
        peer, _, reader = connect(address)
        with contextlib.closing(peer):
            peer.settimeout(_HELLO_S)
            peer.sendall(encode_message("counters"))
            while data := peer.recv(_READ):
                for kind, *parts in reader.feed(data):
                    if kind == "counters":
                        return dict(parts[0])
    except OSError as error:
        raise EngineError(f"no engine answers at {address!r}: {error}") from error
    raise EngineError(f"the engine at {address!r} closed the connection")
