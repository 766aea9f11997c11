"""Connections to one gRPC server on the event loop. One carries all calls; another is made when it is lost, leaving
or full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from qwen_triton.errors import ConfigurationError, Unavailable
from qwen_triton.kserve.connection import split_authority
from qwen_triton.kserve.events import StreamListener
from qwen_triton.kserve.status import CallError, StatusCode

from .grpc_socket import GrpcSocket

Metadata = Sequence[tuple[str, str]]
_Begun = TypeVar("_Begun")

_CONNECT_S = 10.0


class GrpcPool:
    """`url`: HOST:PORT. Connects when a call needs it; a connection that fails is tried again by the next call."""

    def __init__(self, url: str) -> None:
        self._host, self._port = host_port(url)
        self._sockets: list[GrpcSocket] = []
        self._connecting = asyncio.Lock()

    async def open(
        self, path: str, metadata: Metadata, message: bytes, listener: StreamListener
    ) -> tuple[GrpcSocket, int]:
        """Begins a call of one message; returns its connection and its stream id there. Raises Unavailable."""
        return await self.use(lambda socket: (socket, socket.open(path, metadata, message, listener)))

    async def use(self, begin: Callable[[GrpcSocket], _Begun]) -> _Begun:
        """What `begin` makes of a connection, the first for which it does not raise Unavailable, or a new one. Raises
        Unavailable."""
        if (begun := self._try_use(begin)) is not None:
            return begun
        async with self._connecting:
            if (begun := self._try_use(begin)) is not None:
                return begun
            self._sockets.append(await GrpcSocket.connect(self._host, self._port, _CONNECT_S))
            return begin(self._sockets[-1])

    async def unary(self, path: str, message: bytes, timeout_s: float | None = None) -> bytes:
        """The answer of a call that has one. Raises CallError, DEADLINE_EXCEEDED after `timeout_s`; Unavailable."""
        try:
            return await asyncio.wait_for(self._unary(path, message), timeout_s)
        except asyncio.TimeoutError:
            raise CallError(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None

    async def _unary(self, path: str, message: bytes) -> bytes:
        answer = _UnaryAnswer()
        socket, stream_id = await self.open(path, (), message, answer)
        try:
            return await answer.future
        finally:
            socket.reset(stream_id)  # does nothing once the call has ended

    def close(self) -> None:
        """Breaks off all calls."""
        for socket in self._sockets:
            socket.close()

    def _try_use(self, begin: Callable[[GrpcSocket], _Begun]) -> _Begun | None:
        """None when there is no connection with room."""
        if not all(socket.usable for socket in self._sockets):
            self._sockets = [socket for socket in self._sockets if socket.usable]
        for socket in self._sockets:
            try:
                return begin(socket)
            except Unavailable:
                continue
        return None


class _UnaryAnswer:
    """A `StreamListener` whose future gets the only message, or the error that the call ended with."""

    def __init__(self) -> None:
        self.future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._messages: list[bytes] = []

    def on_message(self, message: bytes) -> None:
        self._messages.append(message)

    def on_end(self, code: StatusCode, text: str) -> None:
        if self.future.done():  # nobody waits any more
            return
        if code != StatusCode.OK:
            self.future.set_exception(CallError(code, text))
        elif len(self._messages) == 1:
            self.future.set_result(self._messages[0])
        else:
            reason = f"a call that has one answer ended with {len(self._messages)}"
            self.future.set_exception(CallError(StatusCode.INTERNAL, reason))


def host_port(url: str) -> tuple[str, int]:
    """Raises ConfigurationError for anything but HOST:PORT, an IPv6 address in brackets."""
    try:
        return split_authority(url)
    except ValueError:
        raise ConfigurationError(f"triton_url: expected HOST:PORT of Triton's gRPC, got {url!r}") from None
