"""The client for threads, against gRPC's own server: answers, ends, cancelling, reconnecting, TLS."""

from __future__ import annotations

import gc
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from qwen_triton.errors import Unavailable
from qwen_triton.kserve.client import GrpcClient
from qwen_triton.kserve.questions import SERVER_METADATA, decode_ready, decode_server_name
from qwen_triton.kserve.status import CallError, ConnectError, StatusCode

ECHO, COUNT, ENDLESS, REFUSE, SLOW = (
    f"/test.Service/{name}" for name in ("Echo", "Count", "Endless", "Refuse", "Slow")
)
MIB = 1 << 20
WAIT_S = 20.0


class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types
    """A service of bytes. `cancelled` counts the endless answers that were cancelled."""

    def __init__(self) -> None:
        self.cancelled = threading.Semaphore(0)

    def service(self, details: Any) -> Any:
        unary = {ECHO: lambda data, _: data, REFUSE: self.refuse, SLOW: lambda *_: time.sleep(WAIT_S)}
        if details.method in unary:
            return grpc.unary_unary_rpc_method_handler(unary[details.method])
        return grpc.unary_stream_rpc_method_handler(self.count if details.method == COUNT else self.endless)

    def refuse(self, _: bytes, context: Any) -> None:
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "n: 必须 small")

    def count(self, data: bytes, _: Any) -> Iterator[bytes]:
        return (str(n).encode() for n in range(int(data)))

    def endless(self, _: bytes, context: Any) -> Iterator[bytes]:
        gone = threading.Event()
        context.add_callback(gone.set)
        context.add_callback(self.cancelled.release)
        yield b"first"
        gone.wait(WAIT_S)


Start = Callable[..., tuple[Handler, int]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a server, with TLS by `credentials`, at `port` or a free one."""
    servers = []

    def start(credentials: Any = None, port: int = 0) -> tuple[Handler, int]:
        handler = Handler()
        server = grpc.server(
            futures.ThreadPoolExecutor(16), (handler,), options=[("grpc.max_receive_message_length", -1)]
        )
        address = f"localhost:{port}"
        port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
        server.start()
        servers.append(server)
        handler.stop = lambda: server.stop(None).wait()
        return handler, port

    yield start
    for server in servers:
        server.stop(None)


@pytest.fixture
def client(start: Start) -> Iterator[tuple[GrpcClient, Handler]]:
    handler, port = start()
    client = GrpcClient("localhost", port)
    yield client, handler
    client.close()


def test_calls_of_many_threads_share_a_connection(client: tuple[GrpcClient, Handler]) -> None:
    """Each gets its own answer."""
    grpc_client, _ = client

    def ask(n: int) -> tuple[bytes, int]:
        return grpc_client.unary(ECHO, str(n).encode(), WAIT_S), len(list(grpc_client.stream(COUNT, b"50")))

    with futures.ThreadPoolExecutor(8) as threads:
        assert list(threads.map(ask, range(100))) == [(str(n).encode(), 50) for n in range(100)]
    assert len(grpc_client._connections) == 1


def test_a_stream_is_its_messages_in_order_and_ends_once(client: tuple[GrpcClient, Handler]) -> None:
    """Asked again, it has ended."""
    stream = client[0].stream(COUNT, b"1000")
    assert list(stream) == [str(n).encode() for n in range(1000)]
    assert list(stream) == []
    stream.cancel()
    assert list(stream) == []


def test_large_messages_pass_both_ways(client: tuple[GrpcClient, Handler]) -> None:
    data = b"x" * (12 * MIB)
    assert client[0].unary(ECHO, data, WAIT_S) == data


def test_an_error_has_its_code_and_text(client: tuple[GrpcClient, Handler]) -> None:
    with pytest.raises(CallError) as caught:
        client[0].unary(REFUSE, b"", WAIT_S)
    assert (caught.value.code, caught.value.message) == (StatusCode.INVALID_ARGUMENT, "n: 必须 small")


def test_a_call_with_many_answers_is_no_unary_call(client: tuple[GrpcClient, Handler]) -> None:
    for count in (b"0", b"2"):
        with pytest.raises(CallError, match="one answer"):
            client[0].unary(COUNT, count, WAIT_S)


def test_a_late_answer_is_not_waited_for(client: tuple[GrpcClient, Handler]) -> None:
    """The connection goes on."""
    started = time.monotonic()
    with pytest.raises(CallError) as caught:
        client[0].unary(SLOW, b"", 0.1)
    assert (caught.value.code, time.monotonic() - started < 5) == (StatusCode.DEADLINE_EXCEEDED, True)
    assert client[0].unary(ECHO, b"x", WAIT_S) == b"x"


def test_cancelling_reaches_the_server_and_the_reader(client: tuple[GrpcClient, Handler]) -> None:
    """From another thread, while the reader waits."""
    grpc_client, handler = client
    stream = grpc_client.stream(ENDLESS, b"")
    assert stream.next(WAIT_S) == b"first"
    threading.Timer(0.05, stream.cancel).start()
    with pytest.raises(CallError) as caught:
        stream.next(WAIT_S)
    assert (caught.value.code, caught.value.message) == (StatusCode.CANCELLED, "the request was cancelled")
    assert handler.cancelled.acquire(timeout=WAIT_S)


def test_a_stream_that_nobody_holds_is_cancelled(client: tuple[GrpcClient, Handler]) -> None:
    grpc_client, handler = client
    stream = grpc_client.stream(ENDLESS, b"")
    assert stream.next(WAIT_S) == b"first"
    del stream
    gc.collect()
    assert handler.cancelled.acquire(timeout=WAIT_S)


def test_closing_ends_what_is_under_way(start: Start) -> None:
    """For the server and for who reads; nothing can be asked after it."""
    handler, port = start()
    client = GrpcClient("localhost", port)
    stream = client.stream(ENDLESS, b"")
    assert stream.next(WAIT_S) == b"first"
    client.close()
    for ask in (lambda: stream.next(WAIT_S), lambda: client.unary(ECHO, b"")):
        with pytest.raises(CallError) as caught:
            ask()
        assert caught.value.code == StatusCode.CANCELLED
    assert handler.cancelled.acquire(timeout=WAIT_S)


def test_a_client_that_nobody_holds_ends_its_thread(start: Start) -> None:
    _, port = start()
    client = GrpcClient("localhost", port)
    assert client.unary(ECHO, b"x", WAIT_S) == b"x"
    (connection,) = client._connections
    del client
    connection._reader.join(WAIT_S)
    assert not connection.alive


def test_a_server_that_comes_back_is_asked_again(start: Start) -> None:
    """While it is away, the reason is told; what was under way has ended."""
    handler, port = start()
    client = GrpcClient("localhost", port)
    stream = client.stream(ENDLESS, b"")
    assert stream.next(WAIT_S) == b"first"
    handler.stop()
    with pytest.raises(CallError) as caught:
        stream.next(WAIT_S)
    assert caught.value.code in (StatusCode.UNAVAILABLE, StatusCode.CANCELLED)
    with pytest.raises(ConnectError, match="connection refused"):
        client.unary(ECHO, b"x", WAIT_S)
    start(port=port)
    assert client.unary(ECHO, b"x", WAIT_S) == b"x"
    client.close()


def test_what_is_no_grpc_server_breaks_the_call() -> None:
    """One that speaks HTTP/1."""
    with socket.create_server(("localhost", 0)) as server:
        threading.Thread(target=lambda: server.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")).start()
        client = GrpcClient("localhost", server.getsockname()[1])
        with pytest.raises((CallError, Unavailable), match="HTTP/2"):
            client.unary(ECHO, b"x", WAIT_S)
        client.close()


def test_tls(start: Start, tmp_path: Path) -> None:
    """With a certificate that the context trusts; without, no connection is made."""
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    pair = (key.read_bytes(), certificate.read_bytes())
    _, port = start(grpc.ssl_server_credentials([pair]))
    client = GrpcClient("localhost", port, ssl.create_default_context(cafile=str(certificate)))
    data = b"x" * MIB
    assert client.unary(ECHO, data, WAIT_S) == data
    with futures.ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: len(list(client.stream(COUNT, b"300"))), range(20))) == [300] * 20
    client.close()
    with pytest.raises(ConnectError, match=r"(?i)certificate"):
        GrpcClient("localhost", port, ssl.create_default_context()).unary(ECHO, b"x", WAIT_S)


def test_answers_about_a_server() -> None:
    """As Triton's own classes write them."""
    from tritonclient.grpc import service_pb2

    data = service_pb2.ServerMetadataResponse(name="triton", version="2.51.0", extensions=["x"]).SerializeToString()
    assert decode_server_name(data) == "triton 2.51.0"
    assert [decode_ready(service_pb2.ModelReadyResponse(ready=r).SerializeToString()) for r in (True, False)] == [
        True,
        False,
    ]
    assert SERVER_METADATA.startswith("/inference.GRPCInferenceService/")
