"""A connection of the shim has bounds: bytes of URL and headers, time, and bytes of a body on the wire."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

from qwen_triton.tensors.limits import Limits
from qwen_triton_openai.app import create_app
from qwen_triton_openai.processes.http_protocol import bounded_protocol
from qwen_triton_openai.settings import ShimSettings
from tests.support.fake_triton import FakeTriton
from tests.support.live.servers import free_ports

SETTINGS = ShimSettings(header_timeout_s=1.0, body_timeout_s=1.0, max_body_bytes=100_000, limits=Limits(headers=20))
GET = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    (port,) = free_ports(1)
    app = create_app(SETTINGS, lambda _: FakeTriton())
    config = uvicorn.Config(
        app, port=port, loop="uvloop", http=bounded_protocol(SETTINGS), ws="none", log_level="critical"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield port
    server.should_exit = True
    thread.join(10)


def answer(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """All that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        received = b""
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause_s)
        except OSError:
            pass  # the server no longer reads
        while data := client.recv(65_536):
            received += data
        return received


@pytest.mark.parametrize(
    ("sent", "status", "limit"),
    [
        (GET + b"a: " + b"x" * 50_000_000 + b"\r\n\r\n", b"431", b"limits.header_bytes"),
        (GET + b"a: " + b"x" * 70_000 + b"\r\n\r\n", b"431", b"limits.header_bytes"),
        (GET + b"a: x\r\n" * 20 + b"\r\n", b"431", b"limits.headers"),
        (b"GET /" + b"x" * 50_000_000 + b" HTTP/1.1\r\n\r\n", b"414", b"limits.url_bytes"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", b"414", b"limits.url_bytes"),
        (CHUNKED + b"1\r\na\r\n" * 90_000, b"413", b"openai.max_body_bytes"),
        (CHUNKED + b"1;" + b"a" * 1_000_000, b"413", b"openai.max_body_bytes"),
        (CHUNKED + b"1\r\na\r\n0\r\n" + b"t: x\r\n" * 60_000, b"431", b"limits.header_bytes"),
    ],
    ids=["header", "header in one piece", "headers", "url", "url in one piece", "chunks", "chunk extension", "trailers"],
)  # fmt: skip
def test_what_is_too_large_is_refused_at_once(port: int, sent: bytes, status: bytes, limit: bytes) -> None:
    started = time.monotonic()
    received = answer(port, sent)
    assert received.startswith(b"HTTP/1.1 " + status)
    assert limit in received
    assert b"request_too_large" in received
    assert time.monotonic() - started < 10


def test_a_refusal_has_the_shape_of_the_path_s_api(port: int) -> None:
    """Anthropic's under /v1/messages."""
    received = answer(
        port, CHUNKED.replace(b"/v1/chat/completions", b"/v1/messages?beta=true") + b"1\r\na\r\n" * 90_000
    )
    body = json.loads(received.partition(b"\r\n\r\n")[2])
    assert (body["type"], body["error"]["type"]) == ("error", "request_too_large")
    assert "openai.max_body_bytes" in body["error"]["message"]


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([], b""),
        ([GET], b"408"),
        ([GET, *[b"a"] * 8], b"408"),
        ([POST + b"content-length: 100\r\n\r\n{"], b"408"),
        ([CHUNKED, *[b"1\r\na\r\n"] * 8], b"408"),
    ],
    ids=["nothing", "headers", "headers, a byte at a time", "body", "body, a byte at a time"],
)
def test_what_does_not_arrive_in_time_is_refused(port: int, parts: list[bytes], expected: bytes) -> None:
    started = time.monotonic()
    received = answer(port, *parts, pause_s=0.2)
    assert received[9:12] == expected
    assert 0.9 < time.monotonic() - started < 6


def test_a_second_request_has_its_time_as_well(port: int) -> None:
    """And an answered one none: the connection is kept open."""
    received = answer(port, GET + b"\r\n", GET, pause_s=0.3)
    assert received.startswith(b"HTTP/1.1 200")
    assert received.count(b"HTTP/1.1 408") == 1


def test_what_is_within_the_bounds_is_answered(port: int) -> None:
    received = answer(port, GET + b"a: " + b"x" * 60_000 + b"\r\nconnection: close\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 200")
