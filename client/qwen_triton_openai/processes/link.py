"""Messages between the main process and a worker: msgpack arrays, a kind and its facts, over a pair of sockets.

Each write wakes the other process, so messages that may wait leave together at the end of the event loop's turn.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import msgpack

Message = list[Any]
"""[kind, fact, …]."""


class Link(asyncio.Protocol):
    """One end of the pair. `on_message` gets each message in order; `on_lost` is called when the other end is closed."""

    def __init__(self, on_message: Callable[[Message], None], on_lost: Callable[[], None]) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._unpacker = msgpack.Unpacker()
        self._pack = msgpack.Packer().pack
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []

    async def open(self, end: socket.socket) -> None:
        """Reads and writes `end` from now on, which it owns."""
        end.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=end)

    def send(self, *message: Any) -> None:
        """Sends [kind, fact, …], behind those that wait; what is sent before `open`, or after the end was closed, is lost."""
        self._unsent.append(self._pack(message))
        self._write()

    def send_soon(self, *message: Any) -> None:
        """As `send`, at the end of this turn of the event loop at the latest."""
        if not self._unsent:
            asyncio.get_running_loop().call_soon(self._write)
        self._unsent.append(self._pack(message))

    def close(self) -> None:
        """Closes the end, behind what was sent."""
        if self._transport is not None:
            self._write()
            self._transport.close()

    def _write(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a socket's can write
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._unpacker.feed(data)
        for message in self._unpacker:
            self._on_message(message)

    def connection_lost(self, error: Exception | None) -> None:
        del error
        self._on_lost()
