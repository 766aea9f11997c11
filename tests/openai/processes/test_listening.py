"""Sockets of a host and a port."""

from __future__ import annotations

import contextlib
import socket

import pytest

from qwen_triton_openai.processes.listening import addresses, bind
from tests.support.live.servers import free_ports


def test_a_name_is_listened_at_with_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, found[0]])
    sockets = bind(addresses("two.example", port))
    for sock in sockets:
        sock.listen()
    for address in ("127.0.0.1", "127.0.0.2"):
        socket.create_connection((address, port), 5).close()
    assert len(sockets) == 2
    for sock in sockets:
        sock.close()


def test_a_port_that_others_listen_at_is_refused() -> None:
    """Also where they share it among themselves: two servers on one port would each get half of the requests."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OSError, match="in use"):
            addresses("127.0.0.1", taken.getsockname()[1])


def test_connections_are_spread_over_those_who_listen() -> None:
    (port,) = free_ports(1)
    known = addresses("127.0.0.1", port)
    silent, *sockets = [bind(known)[0] for _ in range(4)]
    for sock in sockets:
        sock.listen(256)
        sock.setblocking(False)
    callers = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(120)]
    taken = [_accepted(sock) for sock in sockets]
    assert sum(taken) == 120
    assert min(taken) >= 15
    for sock in (silent, *sockets, *callers):
        sock.close()


def _accepted(sock: socket.socket) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.accept()[0].close()
            count += 1
    return count
