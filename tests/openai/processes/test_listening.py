"""Sockets of a host and a port."""

from __future__ import annotations

import socket

import pytest

from qwen_triton_openai.processes.listening import listen
from tests.support.live.servers import free_ports


def test_a_name_is_listened_at_with_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.1", "127.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [*found, found[0]])
    sockets = listen("two.example", port)
    for address in ("127.0.0.1", "127.0.0.2"):
        socket.create_connection((address, port), 5).close()
    assert len(sockets) == 2
    for sock in sockets:
        sock.close()


def test_a_port_that_is_taken_leaves_no_socket_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", taken.getsockname()[1])
