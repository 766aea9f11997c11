"""A connection to a gRPC server on the event loop: bytes to the protocol, its events to the listeners of the calls.

The events of one read of the socket are delivered before anything else runs, so that the messages of a request which
have accumulated reach it together. A message that no reader waits for wakes no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import cast

from qwen_triton.errors import Unavailable
from qwen_triton.kserve.connection import GrpcConnection, authority
from qwen_triton.kserve.events import StreamListener, deliver
from qwen_triton.kserve.status import StatusCode

_LEAVING_S = 1.0
"""How long a call that was asked to end may take, before it is broken off."""
_AWAY = "the model server does not answer"


class _Nobody:
    """The listener of a call that has been given up."""

    def on_message(self, message: bytes) -> None:
        """Nobody reads it."""

    def on_end(self, code: StatusCode, text: str) -> None:
        """Nobody waits for it."""


_NOBODY = _Nobody()


class GrpcSocket(asyncio.Protocol):
    """Made by `connect`. Not for several threads. Listeners are called from the loop."""

    def __init__(self, host: str) -> None:
        self._grpc = GrpcConnection(host)
        self._transport: asyncio.Transport | None = None
        self._listeners: dict[int, StreamListener] = {}
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[None] = self._loop.create_future()
        self._writing = False

    @classmethod
    async def connect(cls, host: str, port: int, timeout_s: float) -> GrpcSocket:
        """A connection whose server has sent its settings. Raises Unavailable."""
        socket = cls(authority(host, port))
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
        """Whether calls can be opened here."""
        return self._grpc.usable and self._transport is not None and not self._transport.is_closing()

    def open(self, path: str, metadata: Iterable[tuple[str, str]], message: bytes, listener: StreamListener) -> int:
        """Begins a call of one message; returns its stream id. Raises Unavailable."""
        stream_id = self.begin(path, listener, metadata)
        self._grpc.send(stream_id, message)
        self.half_close(stream_id)
        return stream_id

    def begin(self, path: str, listener: StreamListener, metadata: Iterable[tuple[str, str]] = ()) -> int:
        """Begins a call to which messages are sent one by one, until `half_close`; returns its stream id. Raises
        Unavailable."""
        stream_id = self._grpc.open(path, metadata)
        self._listeners[stream_id] = listener
        return stream_id

    def send(self, stream_id: int, message: bytes) -> None:
        """Sends a message, or keeps it until the server has room. Does nothing once the call has ended."""
        self._grpc.send(stream_id, message)
        self._write_soon()

    def half_close(self, stream_id: int) -> None:
        """No message follows."""
        self._grpc.half_close(stream_id)
        self._write_soon()

    def reset(self, stream_id: int) -> None:
        """Breaks a call off: its listener gets nothing more. Does nothing once it has ended."""
        if self._listeners.pop(stream_id, None) is not None:
            self._grpc.reset(stream_id)
            self._write_soon()
            self._close_if_idle()

    def leave(self, stream_id: int, path: str, message: bytes) -> None:
        """Gives a call up: its listener gets nothing more. The server is asked to end it by a call of `message`, if any.

        tritonserver 2.51 may let go of nothing, or stand still, when a call is broken off while it writes a response;
        so that is done only with one that has not ended a second later.
        """
        if stream_id not in self._listeners:
            return
        self._listeners[stream_id] = _NOBODY
        if message:
            try:
                self.open(path, (), message, _NOBODY)
            except Unavailable:  # no room for one more call
                self.reset(stream_id)
                return
        self._loop.call_later(_LEAVING_S, self.reset, stream_id)

    def close(self) -> None:
        """Breaks off all calls."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        self._write()

    def data_received(self, data: bytes) -> None:
        if not self._greeted.done():
            self._greeted.set_result(None)
        deliver(self._grpc.receive(data), self._listeners)
        self._write()
        self._close_if_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if not self._greeted.done():
            self._greeted.set_result(None)  # `connect` finds it not usable
        deliver(self._grpc.lost("the connection to the model server was lost"), self._listeners)

    def _write_soon(self) -> None:
        """Writes at the end of the loop's turn, so that requests of one moment go out in one write."""
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._writing = False
        data = self._grpc.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close_if_idle(self) -> None:
        """After the server's GOAWAY the connection is closed behind its last call."""
        if not self._grpc.usable and not self._listeners:
            self.close()
