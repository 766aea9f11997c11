"""A connection to the server's gRPC with TLS: requests and responses travel encrypted, another peer is not trusted."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tritonclient.grpc import service_pb2

from qwen_triton.engines.triton_model.client import ModelClient
from qwen_triton.engines.triton_model.connection import ModelConnection
from qwen_triton.engines.triton_model.facts import EngineModelFacts
from qwen_triton.engines.triton_model.server_address import GrpcAddress, TlsFiles
from qwen_triton.engines.triton_model.tls import client_context
from qwen_triton.errors import EngineError
from tests.support.certificates import make_certificate
from tests.support.http2_peer import Peer

SIZE = 300_000
"""Bytes of a response: many TLS records, read in several calls."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    own = make_certificate(tmp_path_factory.mktemp("certificates"), "own")
    return TlsFiles(own.certificate, own.key)


def respond(connection: socket.socket, peer: Peer) -> None:
    """Answers each request of the one stream with its id, and outputs of `SIZE` bytes."""
    answered = 0
    while data := connection.recv(1 << 16):
        peer.take(data)
        connection.sendall(peer.bytes_to_send())
        received = bytes(peer.received[1])
        if len(received) < 5 or answered:
            continue
        request = service_pb2.ModelInferRequest.FromString(received[5:])
        response = service_pb2.ModelInferResponse(id=request.id, raw_output_contents=[bytes(SIZE)])
        response.outputs.add(name="output_ids")
        message = service_pb2.ModelStreamInferResponse(infer_response=response)
        peer.answer(1, message.SerializeToString())
        connection.sendall(peer.bytes_to_send())
        answered += 1


@pytest.fixture
def address(files: TlsFiles) -> Iterator[GrpcAddress]:
    """A server of one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError), context.wrap_socket(listener.accept()[0], server_side=True) as connection:
                respond(connection, Peer())

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield GrpcAddress("127.0.0.1", listener.getsockname()[1], tls=files)
        thread.join()


def test_a_response_of_many_records_arrives_whole(address: GrpcAddress, files: TlsFiles) -> None:
    connection = ModelConnection(address, True, client_context(files))
    request = service_pb2.ModelInferRequest(model_name="engine", id="7")
    connection.send("7", request.SerializeToString())
    responses, reason = connection.receive()
    while not responses and not reason:
        responses, reason = connection.receive()
    assert (reason, [(r.request_id, len(r.outputs["output_ids"])) for r in responses]) == ("", [("7", SIZE)])
    connection.close()


def test_another_server_is_not_trusted(address: GrpcAddress, tmp_path: Path) -> None:
    """A fault of the installation, which waiting does not mend: it is reported at once."""
    other = make_certificate(tmp_path, "other")
    facts = EngineModelFacts(frozenset(), True, False, 100, 100)
    mistaken = GrpcAddress(address.host, address.port, tls=TlsFiles(other.certificate, other.key))
    with pytest.raises(
        EngineError, match=r"the server's own gRPC \(127.0.0.1:\d+\) fails in TLS: .*CERTIFICATE_VERIFY"
    ):
        ModelClient(mistaken, "engine", facts)._ensure_connected()
