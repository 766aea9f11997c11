"""Sockets of one host and port for processes that each have their own: the kernel spreads connections evenly (SO_REUSEPORT).

One socket that all of them accept from gives nearly all connections to the process that is woken first.
"""

from __future__ import annotations

import socket
from typing import NamedTuple


class Address(NamedTuple):
    """An address of a host, and its port, as `socket.bind` takes them."""

    family: int
    where: tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]


def addresses(host: str, port: int) -> list[Address]:
    """All addresses of a host. Raises OSError where there is none, or where somebody listens at one."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    known = list(dict.fromkeys(Address(family, where) for family, _, _, _, where in found))
    for sock in _bound(known, shared=False):
        sock.close()
    return known


def bind(known: list[Address]) -> list[socket.socket]:
    """A process's own sockets; they get connections once they listen. Raises OSError."""
    return _bound(known, shared=True)


def _bound(known: list[Address], *, shared: bool) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for family, where in known:
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind(where)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets
