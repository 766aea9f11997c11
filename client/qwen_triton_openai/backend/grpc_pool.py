"""Calls to one gRPC server. One connection carries them all; another is made when it is lost, leaving or full."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from qwen_triton.errors import ConfigurationError, Unavailable

from .grpc_socket import GrpcSocket, Listener

Metadata = Sequence[tuple[str, str]]

_CONNECT_S = 10.0


class GrpcPool:
    """`url`: HOST:PORT. Connects when a call needs it; a connection that fails is tried again by the next call."""

    def __init__(self, url: str) -> None:
        self._host, self._port = host_port(url)
        self._sockets: list[GrpcSocket] = []
        self._connecting = asyncio.Lock()

    async def open(self, path: str, metadata: Metadata, message: bytes, listener: Listener) -> tuple[GrpcSocket, int]:
        """Begins a call of one message: where it is under way, and its number there. Raises Unavailable."""
        if (opened := self._try_open(path, metadata, message, listener)) is not None:
            return opened
        async with self._connecting:
            if (opened := self._try_open(path, metadata, message, listener)) is not None:
                return opened
            self._sockets.append(await GrpcSocket.connect(self._host, self._port, _CONNECT_S))
            return self._sockets[-1], self._sockets[-1].open(path, metadata, message, listener)

    def close(self) -> None:
        for socket in self._sockets:
            socket.close()

    def _try_open(
        self, path: str, metadata: Metadata, message: bytes, listener: Listener
    ) -> tuple[GrpcSocket, int] | None:
        """None when there is no connection with room."""
        if not all(socket.usable for socket in self._sockets):
            self._sockets = [socket for socket in self._sockets if socket.usable]
        for socket in self._sockets:
            try:
                return socket, socket.open(path, metadata, message, listener)
            except Unavailable:
                continue
        return None


def host_port(url: str) -> tuple[str, int]:
    """Raises ConfigurationError for anything but HOST:PORT, an IPv6 address in brackets."""
    host, colon, port = url.rpartition(":")
    if not colon or not host or not port.isdigit() or "/" in host:
        raise ConfigurationError(f"triton_url: expected HOST:PORT of Triton's gRPC, got {url!r}")
    return host.strip("[]"), int(port)
