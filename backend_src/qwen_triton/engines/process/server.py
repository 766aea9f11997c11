"""Event loop of an engine's process: one thread serves all clients' sockets and steps the engine.

Knows no text and no Triton. A client that does not read never blocks the engine: its bytes wait in a buffer. The
sequences of a client that disconnects are cancelled, and so is one that has no slot by its queue timeout. The process
ends with its owner (tritonserver).
"""

from __future__ import annotations

import os
import selectors
import socket
from collections import defaultdict
from dataclasses import asdict
from typing import Any

from ...errors import InvalidRequest
from ..deadlines import Deadlines
from ..engine import Key, StepEngine
from .messages import MessageReader, decode_request, encode_chunk, encode_message
from .socket import listen, same_user

_READ = 1 << 18


class _Client:
    """One connection: received and unsent bytes, and the engine's keys by the client's."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.reader = MessageReader()
        self.unsent = bytearray()
        self.keys: dict[int, Key] = {}


class EngineServer:
    """Serves one engine to any number of local clients until it is stopped or the process `owner_pid` ends.

    Raises OSError where another process listens at `address`.
    """

    def __init__(self, engine: StepEngine, address: str, owner_pid: int | None = None) -> None:
        self._engine = engine
        self._selector = selectors.DefaultSelector()
        self._listener = listen(address)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._owners: dict[Key, tuple[_Client, int]] = {}
        self._deadlines = Deadlines(engine.waits)
        self._next_key = 0
        self._stopping = False
        if owner_pid is not None:
            self._watch(owner_pid)

    def _watch(self, owner_pid: int) -> None:
        try:
            self._selector.register(os.pidfd_open(owner_pid), selectors.EVENT_READ, lambda _: self.stop())
        except ProcessLookupError:  # gone while the engine was loading
            self.stop()

    def stop(self) -> None:
        """Ends `run` after the step under way."""
        self._stopping = True

    def run(self) -> None:
        """Serves until stopped, then closes the engine."""
        while not self._stopping:
            for key, mask in self._selector.select(self._wait_s()):
                key.data(mask)
            self._expire()
            if self._engine.wait_s() == 0:
                self._publish(self._engine.step())
        self._listener.close()
        self._engine.close()

    def _wait_s(self) -> float | None:
        waits = (self._engine.wait_s(), self._deadlines.wait_s())
        return min((wait for wait in waits if wait is not None), default=None)

    def _expire(self) -> None:
        """Cancels sequences whose queue timeout is over, before the next step could give them a slot."""
        for key in self._deadlines.passed():
            client, name = self._owners[key]
            self._cancel(client, name)
            self._send(client, encode_message("expired", name))

    def _accept(self, _mask: int) -> None:
        peer, _ = self._listener.accept()
        if not same_user(peer):
            peer.close()
            return
        peer.setblocking(False)
        client = _Client(peer)
        self._selector.register(peer, selectors.EVENT_READ, lambda mask: self._serve(client, mask))
        self._send(client, encode_message("hello", asdict(self._engine.info)))

    def _serve(self, client: _Client, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._send(client, b"")
        if mask & selectors.EVENT_READ:
            self._read(client)

    def _read(self, client: _Client) -> None:
        try:
            data = client.peer.recv(_READ)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(client)
            return
        for message in client.reader.feed(data):
            self._handle(client, *message)

    def _handle(self, client: _Client, kind: str, *parts: Any) -> None:
        if kind == "add":
            self._add(client, *parts)
        elif kind == "cancel":
            self._cancel(client, *parts)
        elif kind == "counters":
            self._send(client, encode_message("counters", asdict(self._engine.counters)))
        elif kind == "shutdown":
            self.stop()

    def _add(self, client: _Client, name: int, data: dict[str, Any]) -> None:
        self._next_key += 1
        request = decode_request(data)
        try:
            self._engine.add(self._next_key, request)
        except InvalidRequest as error:
            self._send(client, encode_message("refused", name, error.field, str(error)))
            return
        client.keys[name] = self._next_key
        self._owners[self._next_key] = (client, name)
        if request.queue_timeout_s is not None:
            self._deadlines.add(self._next_key, request.queue_timeout_s)

    def _cancel(self, client: _Client, name: int) -> None:
        key = client.keys.pop(name, None)
        if key is not None:
            del self._owners[key]
            self._engine.cancel(key)

    def _publish(self, chunks: Any) -> None:
        """Sends each client one message with the new chunks of all its sequences."""
        by_client: dict[_Client, list[Any]] = defaultdict(list)
        for key, chunk in chunks:
            owner = self._owners.get(key)
            if owner is None:
                continue
            client, name = owner
            by_client[client].append(encode_chunk(name, chunk))
            if chunk.finish and chunk.last:
                del self._owners[key], client.keys[name]
        for client, items in by_client.items():
            self._send(client, encode_message("step", items))

    def _send(self, client: _Client, data: bytes) -> None:
        client.unsent += data
        try:
            sent = client.peer.send(client.unsent)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self._drop(client)
            return
        del client.unsent[:sent]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.unsent else 0)
        entry = self._selector.get_map().get(client.peer)
        if entry is not None and entry.events != wanted:
            self._selector.modify(client.peer, wanted, entry.data)

    def _drop(self, client: _Client) -> None:
        for name in list(client.keys):
            self._cancel(client, name)
        if client.peer in self._selector.get_map():
            self._selector.unregister(client.peer)
        client.peer.close()
