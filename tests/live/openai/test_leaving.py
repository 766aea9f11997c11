"""Clients that leave, and a shim that leaves: slots come back, and what was accepted finishes."""

from __future__ import annotations

import json
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.live.conftest import Serve
from tests.support.live.servers import LiveServer
from tests.support.live.shims import MODEL, LiveShim, shimming, status

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

SOON_S = 10.0
"""A bound on waiting, no promise; the figure is printed."""
SLOTS = 2


@pytest.fixture(scope="module")
def slow_server(serve: Serve, qwen25_folder: Any) -> LiveServer:
    """Two slots, 20 tokens a second each."""
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "slots": SLOTS, "step_ms": 50.0}})


@pytest.fixture
def shim(slow_server: LiveServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShim]:
    with shimming(slow_server, tmp_path_factory.mktemp("shim"), {"drain_s": 20.0}) as shim:
        yield shim


def body(stream: bool, tokens: int = 400, text: str = "one two three four five") -> bytes:
    given = {"model": MODEL, "prompt": text, "ignore_eos": True, "max_tokens": tokens, "stream": stream}
    return json.dumps(given).encode()


def connect(shim: LiveShim, data: bytes) -> socket.socket:
    """Sends a completion request; nothing is read yet."""
    host, _, port = shim.url.removeprefix("http://").partition(":")
    connection = socket.create_connection((host, int(port)), SOON_S)
    head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
    connection.sendall(head.encode() + data)
    return connection


def wait_until(true: Callable[[], bool]) -> float:
    """Seconds until it is so; fails when it does not come to be."""
    started = time.monotonic()
    while not true():
        assert time.monotonic() - started < SOON_S
        time.sleep(0.005)
    return time.monotonic() - started


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reset", [False, True])
def test_who_leaves_frees_the_slot(slow_server: LiveServer, shim: LiveShim, stream: bool, reset: bool) -> None:
    """Whether it reads a stream or waits for the whole; whether it closes or breaks off."""
    connection = connect(shim, body(stream))
    wait_until(lambda: slow_server.engine_counters()["running"] == 1)
    if stream:
        assert b"200 OK" in connection.recv(4096)
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    seconds = wait_until(lambda: slow_server.engine_counters()["running"] == 0)
    print(f"slot free {1000 * seconds:.0f} ms after the client left ({stream=}, {reset=})")


@pytest.mark.parametrize("stream", [True, False])
def test_who_leaves_while_queued_gives_up_the_place(slow_server: LiveServer, shim: LiveShim, stream: bool) -> None:
    """Before the engine has begun with it."""
    running = [connect(shim, body(True)) for _ in range(SLOTS)]
    wait_until(lambda: slow_server.engine_counters()["running"] == SLOTS)
    queued = connect(shim, body(stream))
    wait_until(lambda: slow_server.engine_counters()["waiting"] == 1)
    queued.close()
    seconds = wait_until(lambda: slow_server.engine_counters()["waiting"] == 0)
    print(f"place given up {1000 * seconds:.0f} ms after the client left ({stream=})")
    assert slow_server.engine_counters()["running"] == SLOTS
    for connection in running:
        connection.close()
    wait_until(lambda: slow_server.engine_counters()["running"] == 0)


def test_a_shim_that_leaves_finishes_what_it_accepted(shim: LiveShim) -> None:
    """Not ready at once, nothing new, the stream whole to its end mark; then code 0 (see shimming)."""
    found: list[bytes] = []

    def read() -> None:
        request = urllib.request.Request(f"{shim.v1}/completions", body(True, tokens=20))
        with urllib.request.urlopen(request, timeout=60) as reply:
            found.append(reply.readline())
            found.append(reply.read())

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: bool(found))
    shim.terminate()
    wait_until(lambda: status(f"{shim.url}/health/ready") == 503)
    assert status(f"{shim.url}/health") == 200
    refused = connect(shim, body(False))
    assert b"503 Service Unavailable" in refused.recv(4096)
    refused.close()
    reader.join(60)
    assert found[-1].endswith(b"data: [DONE]\n\n")
    assert shim.process.wait(30) == 0


def test_a_shim_with_nothing_to_do_leaves_at_once(shim: LiveShim) -> None:
    """Code 0."""
    shim.terminate()
    assert shim.process.wait(30) == 0
