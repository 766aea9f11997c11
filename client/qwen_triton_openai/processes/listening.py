"""The listening sockets of a host and a port, for processes that share them.

uvicorn's `bind_socket` binds one address of a name; `asyncio.create_server`, which a single process uses, binds all.
"""

from __future__ import annotations

import socket

_BACKLOG = 2048
"""Connections that wait until a process takes them; uvicorn's number."""


def listen(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at every address of `host`. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    listening: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            listening.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(address)
            sock.listen(_BACKLOG)
    except OSError:
        for sock in listening:
            sock.close()
        raise
    return listening
