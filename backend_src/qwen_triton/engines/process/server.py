"""Event loop of an engine's process: one thread serves all clients' sockets and steps the engine.

Knows no text and no Triton. A client that does not read never blocks the engine: its bytes wait in a buffer. The
sequences of a client that disconnects are cancelled, and so is one that has no slot by its queue timeout.

The process ends with tritonserver. When its model is unloaded, or the model's process ends, it leaves: it tells its
clients, which send new requests to another engine from then on and disconnect once their sequences are done, and ends
when none is left. What a client sent before it knew is served as well, so that a reload fails no request.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from ...errors import InvalidRequest
from ...types import TokenChunk
from ..engine import Key, StepEngine
from .batch_meter import BatchMeter
from .chunks import ChunkCollector
from .deadlines import Deadlines
from .messages import MessageReader, decode_request, encode_chunk, encode_message
from .socket import Entrance, becomes_readable, listen

_READ = 1 << 18
_REST_S = 0.005
"""How long a step waits for the rest of a message. A socket holds some 200 KB, so the ids of a prompt of 80,000 tokens come
in two parts and those of 126,000 in three; without this each part, and what stands behind it, would wait for a step."""
_LINGER_S = 5.0
"""Without a sequence for so long, a leaving engine ends although clients are connected."""
_LOOK_S = 0.5


class _Client:
    """One connection: received and unsent bytes, and the engine's keys by the client's."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.reader = MessageReader()
        self.unsent = bytearray()
        self.keys: dict[int, Key] = {}


class _Sequence:
    """One sequence: its client, the client's name of it, and what collects its chunks, None where each is sent."""

    __slots__ = ("client", "collector", "name")

    def __init__(self, client: _Client, name: int, collector: ChunkCollector | None) -> None:
        self.client = client
        self.name = name
        self.collector = collector


class EngineServer:
    """Serves one engine to any number of local clients until it is stopped, has left, or the process `server_pid` ends.

    It leaves when asked, and when the process `model_pid` ends; `on_leave` is called at the beginning of that. Raises
    OSError where `address` is in no folder.
    """

    def __init__(
        self,
        engine: StepEngine,
        address: str,
        server_pid: int | None = None,
        model_pid: int | None = None,
        on_leave: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._on_leave = on_leave
        self.is_orphan = False
        """Whether a process that should have ended this one has ended itself."""
        self._selector = selectors.DefaultSelector()
        self._listener = listen(address)
        self._entrance = Entrance(self._listener, self._selector, self._accept)
        self._sequences: dict[Key, _Sequence] = {}
        self._deadlines = Deadlines(engine.waits)
        self._batches = BatchMeter()
        self._clients: set[_Client] = set()
        self._next_key = 0
        self._stopping = self._leaving = False
        self._idle_since: float | None = None
        if server_pid is not None:
            self._watch(server_pid, self.stop)
        if model_pid is not None:
            self._watch(model_pid, self.leave)

    def _watch(self, pid: int, on_end: Callable[[], None]) -> None:
        def ended(_mask: int) -> None:
            self._selector.unregister(descriptor)
            self.is_orphan = True
            on_end()

        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:  # gone while the engine was loading
            self.is_orphan = True
            on_end()
            return
        self._selector.register(descriptor, selectors.EVENT_READ, ended)

    def stop(self) -> None:
        """Ends `run` after the step under way."""
        self._stopping = True

    def leave(self) -> None:
        """Ends `run` once no client is left, or none has a sequence for 5 s. For the thread of `run`."""
        if not self._leaving:
            self._leaving = True
            self._on_leave()
            for client in list(self._clients):
                self._send(client, encode_message("leaving"))

    def run(self) -> None:
        """Serves until stopped, then closes the engine."""
        while not (self._stopping or self._has_left()):
            for key, mask in self._selector.select(self._wait_s()):
                key.data(mask)
            self._expire()
            if self._engine.wait_s() == 0:
                self._publish(self._engine.step())
        self._listener.close()
        self._engine.close()

    def _wait_s(self) -> float | None:
        leaving_s = _LOOK_S if self._leaving else None
        waits = (self._engine.wait_s(), self._deadlines.wait_s(), self._entrance.wait_s(), leaving_s)
        return min((wait for wait in waits if wait is not None), default=None)

    def _has_left(self) -> bool:
        if not self._leaving:
            return False
        if self._sequences:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        idle = self._idle_since is not None and time.monotonic() - self._idle_since > _LINGER_S
        return idle or not self._clients

    def _expire(self) -> None:
        """Cancels sequences whose queue timeout is over, before the next step could give them a slot."""
        for key in self._deadlines.passed():
            sequence = self._sequences[key]
            self._cancel(sequence.client, sequence.name)
            self._send(sequence.client, encode_message("expired", sequence.name))

    def _accept(self, _mask: int) -> None:
        peer = self._entrance.accept("use the engine")
        if peer is None:
            return
        client = _Client(peer)
        self._selector.modify(peer, selectors.EVENT_READ, lambda mask: self._serve(client, mask))
        self._clients.add(client)
        self._send(client, encode_message("hello", asdict(self._engine.info), self._leaving))

    def _serve(self, client: _Client, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            self._send(client, b"")
        if mask & selectors.EVENT_READ and client in self._clients:
            self._read(client)

    def _read(self, client: _Client) -> None:
        """Handles the messages that have arrived, and the rest of one of which a part has, unless it takes too long."""
        self._read_part(client)
        while client in self._clients and client.reader.is_within and becomes_readable(client.peer, _REST_S):
            self._read_part(client)

    def _read_part(self, client: _Client) -> None:
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
            if client in self._clients:
                self._handle(client, *message)

    def _handle(self, client: _Client, kind: str, *parts: Any) -> None:
        if kind == "add":
            self._add(client, *parts)
        elif kind == "cancel":
            self._cancel(client, *parts)
        elif kind == "finish":
            self._finish(client, *parts)
        elif kind == "counters":
            self._send(client, encode_message("counters", asdict(self._engine.counters) | self._batches.counters()))
        elif kind == "leave":
            self.leave()

    def _add(self, client: _Client, name: int, data: dict[str, Any]) -> None:
        self._next_key += 1
        request = decode_request(data)
        try:
            self._engine.add(self._next_key, request)
        except InvalidRequest as error:
            self._send(client, encode_message("refused", name, error.field, str(error)))
            return
        client.keys[name] = self._next_key
        self._batches.add(self._next_key)
        collects = request.chunk_tokens != 1 and request.sampling.beam_width == 1
        collector = ChunkCollector(request.chunk_tokens) if collects else None
        self._sequences[self._next_key] = _Sequence(client, name, collector)
        if request.queue_timeout_s is not None:
            self._deadlines.add(self._next_key, request.queue_timeout_s)

    def _cancel(self, client: _Client, name: int) -> ChunkCollector | None:
        """Ends a sequence; returns what collects its chunks, None where nothing does."""
        key = client.keys.pop(name, None)
        if key is None:
            return None
        sequence = self._sequences.pop(key)
        self._engine.cancel(key)
        self._batches.end(key, time.monotonic())
        return sequence.collector

    def _finish(self, client: _Client, name: int) -> None:
        """Ends a sequence with finish «cancelled» and what was kept of it; nothing for one that has ended."""
        if name in client.keys:
            collector, last = self._cancel(client, name), TokenChunk(finish="cancelled")
            chunk = last if collector is None else collector.end(last)
            self._send(client, encode_message("step", [encode_chunk(name, chunk)]))

    def _publish(self, chunks: Any) -> None:
        """Sends each client one message with the new chunks of all its sequences. Hot: runs for every token."""
        by_client: dict[_Client, list[Any]] = defaultdict(list)
        now, advanced = time.monotonic(), 0
        for key, new in chunks:
            sequence = self._sequences.get(key)
            if sequence is None:
                continue
            advanced += new.last
            if self._batches.new:
                self._batches.begins(key, now)
            chunk = new if sequence.collector is None else sequence.collector.add(new)
            if chunk is None:
                continue
            by_client[sequence.client].append(encode_chunk(sequence.name, chunk))
            if chunk.finish and chunk.last:
                del self._sequences[key], sequence.client.keys[sequence.name]
                self._batches.end(key, now)
        self._batches.advance(advanced)
        for client, items in by_client.items():
            self._send(client, encode_message("step", items))

    def _send(self, client: _Client, data: bytes) -> None:
        if client not in self._clients:
            return
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
        entry = self._selector.get_key(client.peer)
        if entry.events != wanted:
            self._selector.modify(client.peer, wanted, entry.data)

    def _drop(self, client: _Client) -> None:
        """Forgets a client; a second time, as where both sending and reading fail, nothing happens."""
        if client not in self._clients:
            return
        self._clients.discard(client)
        for name in list(client.keys):
            self._cancel(client, name)
        self._selector.unregister(client.peer)
        client.peer.close()
