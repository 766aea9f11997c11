"""One connection to a gRPC server on the event loop: bytes to the protocol's core, its events to whoever opened a call.

All that one read of the socket brings is handed out before anything else runs, so that the pieces of a request which
have piled up reach it together. Nothing is awaited, no task is woken, for a message that nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol, cast

from qwen_triton.errors import Unavailable
from qwen_triton.kserve.connection import GrpcConnection
from qwen_triton.kserve.status import Event, Message, StatusCode

_AWAY = "the model server does not answer"


class Listener(Protocol):
    """Whoever opened a call. Called from the loop, in the order of arrival; must not raise."""

    def take(self, message: bytes) -> None:
        """A message of the server."""

    def end(self, code: StatusCode, text: str) -> None:
        """Nothing more comes."""


class GrpcSocket(asyncio.Protocol):
    """Made by `connect`. `full`: the server takes no more calls here at the moment, another connection may do."""

    def __init__(self, authority: str) -> None:
        self._core = GrpcConnection(authority)
        self._transport: asyncio.Transport | None = None
        self._listeners: dict[int, Listener] = {}
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._writing = False

    @classmethod
    async def connect(cls, host: str, port: int, timeout_s: float) -> GrpcSocket:
        """A connection whose server has sent its settings. Raises Unavailable."""
        socket = cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
        try:
            await asyncio.wait_for(socket._loop.create_connection(lambda: socket, host, port), timeout_s)
            await asyncio.wait_for(socket._greeted, timeout_s)
        except BaseException as error:
            socket.close()
            if isinstance(error, (OSError, asyncio.TimeoutError)):
                raise Unavailable(_AWAY) from None
            raise
        if not socket.usable:
            raise Unavailable(_AWAY)
        return socket

    @property
    def usable(self) -> bool:
        """Whether calls may be opened here."""
        return self._core.usable and self._transport is not None and not self._transport.is_closing()

    def open(self, path: str, metadata: Iterable[tuple[str, str]], message: bytes, listener: Listener) -> int:
        """Begins a call of one message and gives its number. Raises Unavailable."""
        call = self._core.open(path, metadata)
        self._listeners[call] = listener
        self._core.send(call, message)
        self._core.half_close(call)
        self._write_soon()
        return call

    def reset(self, call: int) -> None:
        """Takes a call back: its listener hears nothing more. Does nothing once it has ended."""
        if self._listeners.pop(call, None) is not None:
            self._core.reset(call)
            self._write_soon()
            self._leave_if_idle()

    def close(self) -> None:
        """Breaks off what is under way."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class
        self._write()

    def data_received(self, data: bytes) -> None:
        if not self._greeted.done():
            self._greeted.set_result(None)
        self._hand_out(self._core.receive(data))
        self._write()
        self._leave_if_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._greeted.done():
            self._greeted.set_result(None)  # nor will it ever be: `usable` says so
        self._hand_out(self._core.lost("the connection to the model server was lost"))

    def _hand_out(self, events: Iterable[Event]) -> None:
        listeners = self._listeners
        for event in events:
            if isinstance(event, Message):
                if (listener := listeners.get(event.call)) is not None:
                    listener.take(event.data)
            elif (listener := listeners.pop(event.call, None)) is not None:
                listener.end(event.code, event.message)

    def _write_soon(self) -> None:
        """What several requests have to say at a time goes out together."""
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._writing = False
        data = self._core.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _leave_if_idle(self) -> None:
        """After the server's goodbye the calls under way are waited for, and no longer."""
        if not self._core.usable and not self._listeners:
            self.close()
