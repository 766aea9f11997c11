"""A model's connection to an engine's process: submits sequences and receives their chunks.

Any thread may submit and cancel; one thread receives. When the engine's process ends, every sequence in flight is refused
as Unavailable and the next submit connects again; the supervisor restarts the process meanwhile.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from ...errors import EngineError, InvalidRequest, Unavailable
from ...types import EngineRequest
from ..engine import EngineInfo
from ..link import ChunkReceiver
from .messages import MessageReader, decode_chunk, encode_message, encode_request
from .socket import Waker

_READ = 1 << 18
_HELLO_S = 5.0
_ENDED = "the engine's process ended while it answered; it is being started again, try again"
_EXPIRED = "no slot of the engine was free within the request's timeout; try again later"


def connect(address: str) -> tuple[socket.socket, EngineInfo, MessageReader]:
    """Connects to an engine's process and reads its facts. Raises OSError when nothing listens at `address`."""
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    reader = MessageReader()
    try:
        peer.settimeout(_HELLO_S)
        peer.connect("\0" + address)
        while True:
            data = peer.recv(_READ)
            if not data:
                raise ConnectionError("the engine closed the connection before it sent its facts")
            for kind, facts in reader.feed(data):
                if kind == "hello":
                    peer.settimeout(None)
                    return peer, EngineInfo(**facts), reader
    except BaseException:
        peer.close()
        raise


class EngineClient:
    """An EngineLink to an engine's process. `connect_s`: seconds that a submit waits for an engine that is starting."""

    def __init__(self, address: str, connect_s: float = 10.0) -> None:
        self.address = address
        self._connect_s = connect_s
        self._lock = threading.Lock()
        self._peer: socket.socket | None = None
        self._reader = MessageReader()
        self._info: EngineInfo | None = None
        self._in_flight: set[int] = set()
        self._lost: list[int] = []
        self._waker = Waker()

    def info(self) -> EngineInfo:
        """The engine's facts. Raises Unavailable when no engine answers within `connect_s`."""
        with self._lock:
            self._ensure_connected()
            assert self._info is not None  # set together with the connection
            return self._info

    def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        """Sends (key, request) pairs together. Raises Unavailable when no engine answers within `connect_s`."""
        with self._lock:
            peer = self._ensure_connected()
            self._in_flight.update(key for key, _ in requests)
            self._write(peer, b"".join(encode_message("add", key, encode_request(r)) for key, r in requests))

    def cancel(self, key: int) -> None:
        """Ends a sequence; chunks already under way may still arrive. Ignores an unknown key."""
        with self._lock:
            if key in self._in_flight and self._peer is not None:
                self._in_flight.discard(key)
                self._write(self._peer, encode_message("cancel", key))

    def shutdown(self) -> None:
        """Asks the engine's process to end."""
        with self._lock:
            if self._peer is not None:
                self._write(self._peer, encode_message("shutdown"))

    def wake(self) -> None:
        """Makes a receive() that waits return at once."""
        self._waker.wake()

    def close(self) -> None:
        """Closes the connection; sequences in flight are lost."""
        with self._lock:
            self._disconnect()

    def receive(self, receiver: ChunkReceiver, timeout_s: float | None) -> None:
        """Hands over what has arrived, waiting up to `timeout_s` seconds for something (None: until woken)."""
        peer = self._peer
        watched: list[Waker | socket.socket] = [self._waker] if peer is None else [self._waker, peer]
        if not self._lost:
            ready = select.select(watched, [], [], timeout_s)[0]
            if self._waker in ready:
                self._waker.clear()
            if peer is not None and peer in ready:
                self._read(peer, receiver)
        if self._lost:
            self._fail_lost(receiver)

    def _read(self, peer: socket.socket, receiver: ChunkReceiver) -> None:
        try:
            data = peer.recv(_READ)
        except OSError:
            data = b""
        if not data:
            with self._lock:
                if peer is self._peer:
                    self._disconnect()
        for kind, *parts in self._reader.feed(data):
            if kind == "step":
                self._read_step(parts[0], receiver)
            elif kind == "refused":
                key, field, message = parts
                self._in_flight.discard(key)
                receiver.on_refusal(key, _as_invalid(field, message))
            elif kind == "expired":
                self._in_flight.discard(parts[0])
                receiver.on_refusal(parts[0], Unavailable(_EXPIRED))

    def _read_step(self, items: list[list[Any]], receiver: ChunkReceiver) -> None:
        for item in items:
            chunk = decode_chunk(item)
            if chunk.finish and chunk.last:
                self._in_flight.discard(item[0])
            receiver.on_chunk(item[0], chunk)

    def _fail_lost(self, receiver: ChunkReceiver) -> None:
        with self._lock:
            lost, self._lost = self._lost, []
        for key in lost:
            receiver.on_refusal(key, Unavailable(_ENDED))

    def _write(self, peer: socket.socket, data: bytes) -> None:
        try:
            peer.sendall(data)
        except OSError:
            self._disconnect()

    def _disconnect(self) -> None:
        if self._peer is not None:
            with contextlib.suppress(OSError):
                self._peer.shutdown(socket.SHUT_RDWR)
            self._peer.close()
            self._peer = None
        self._lost += self._in_flight
        self._in_flight = set()
        self.wake()

    def _ensure_connected(self) -> socket.socket:
        deadline = time.monotonic() + self._connect_s
        while self._peer is None:
            try:
                self._peer, self._info, self._reader = connect(self.address)
                self.wake()
            except OSError:
                if time.monotonic() > deadline:
                    raise Unavailable("the engine is not running; it may be starting, try again") from None
                time.sleep(0.02)
        return self._peer


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
                for kind, counters in reader.feed(data):
                    if kind == "counters":
                        return dict(counters)
    except OSError as error:
        raise EngineError(f"no engine answers at {address!r}: {error}") from error
    raise EngineError(f"the engine at {address!r} closed the connection")
