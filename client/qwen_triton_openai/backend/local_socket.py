"""A connection to one process of a text model on this machine, on the event loop: requests in, responses to their listeners."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable
from typing import cast

from qwen_triton.engines.process.messages import MessageReader, encode_message
from qwen_triton.engines.process.socket import same_user
from qwen_triton.errors import ConfigurationError, Unavailable
from qwen_triton.kserve.messages import InferResponse
from qwen_triton.kserve.status import StatusCode
from qwen_triton.serving.local.messages import VERSION, encode_request
from qwen_triton.tensors.arrays import Arrays

from .shared_calls import ResponseListener

_CONNECT_S = 2.0
_ENDED = "the model's process ended; try again"


class LocalSocket(asyncio.Protocol):
    """Made by `connect`. Not for several threads. Listeners are called from the loop."""

    def __init__(self) -> None:
        self.processes = 0
        """How many processes the model has; 0 until the model has said so."""
        self._loop = asyncio.get_running_loop()
        self._greeted: asyncio.Future[bool] = self._loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._reader = MessageReader()
        self._listeners: dict[int, ResponseListener] = {}
        self._next = 0
        self._unsent: list[bytes] = []
        self._leaving = False

    @classmethod
    async def connect(cls, address: str) -> LocalSocket:
        """A connection to a model that has greeted. Raises Unavailable where there is none, ConfigurationError where one is but
        speaks another version, or runs as another user."""
        connection = cls()
        try:
            await asyncio.wait_for(connection._loop.create_unix_connection(lambda: connection, address), _CONNECT_S)
            greeted = await asyncio.wait_for(connection._greeted, _CONNECT_S)
        except BaseException as error:
            connection.close()
            if isinstance(error, (OSError, asyncio.TimeoutError)):
                reason = getattr(error, "strerror", None) or str(error) or "no answer"
                raise Unavailable(f"nobody listens at {address} ({reason})") from None
            raise
        if not greeted:
            connection.close()
            raise ConfigurationError(f"the model at {address} is of another version, or of another user")
        return connection

    @property
    def usable(self) -> bool:
        """Whether requests can be sent."""
        return not self._leaving and self._transport is not None and not self._transport.is_closing()

    def __len__(self) -> int:
        """The requests under way."""
        return len(self._listeners)

    def send(self, request_id: str, outputs: Iterable[str], arrays: Arrays, listener: ResponseListener) -> int:
        """Sends a request; returns its number."""
        self._next += 1
        self._listeners[self._next] = listener
        self._write_soon(encode_request(self._next, request_id, outputs, arrays))
        return self._next

    def leave(self, number: int) -> None:
        """Gives a request up: its listener gets nothing more, and the model ends it."""
        if self._listeners.pop(number, None) is not None:
            self._write_soon(encode_message("cancel", number))
            self._close_if_left()

    def close(self) -> None:
        """Breaks off all requests."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as peer:
            if not same_user(peer):
                self._greeted.set_result(False)

    def data_received(self, data: bytes) -> None:
        for kind, *parts in self._reader.feed(data):
            if kind == "responses":
                self._deliver(parts[0])
            elif kind == "hello":
                self._greet(*parts)
            elif kind == "leaving":
                self._leaving = True
        self._close_if_left()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._leaving = True
        if not self._greeted.done():
            self._greeted.set_exception(ConnectionResetError("the connection was closed"))
        listeners, self._listeners = self._listeners, {}
        for listener in listeners.values():
            listener.on_end(StatusCode.UNAVAILABLE, _ENDED)

    def _deliver(self, items: list[tuple[int, dict[str, bytes] | str, bool]]) -> None:
        for number, outputs, final in items:
            listener = self._listeners.pop(number, None) if final else self._listeners.get(number)
            if listener is None:
                continue
            if isinstance(outputs, str):
                listener.on_response(InferResponse("", {}, final, outputs))
            else:
                listener.on_response(InferResponse("", outputs, final, ""))

    def _greet(self, version: int, *facts: int) -> None:
        """Those of another version may say other things."""
        if not self._greeted.done():
            if version == VERSION:
                (self.processes,) = facts
            self._greeted.set_result(version == VERSION)

    def _write_soon(self, data: bytes) -> None:
        """Writes at the end of the loop's turn, so that requests of one moment go out in one write."""
        if not self._unsent:
            self._loop.call_soon(self._write)
        self._unsent.append(data)

    def _write(self) -> None:
        data, self._unsent = b"".join(self._unsent), []
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _close_if_left(self) -> None:
        """A model that leaves waits for its clients to disconnect."""
        if self._leaving and not self._listeners:
            self.close()
