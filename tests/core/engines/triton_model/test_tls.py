"""TLS to the server's own gRPC: its own certificate is trusted and no other, whatever host it names."""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from qwen_triton.engines.triton_model.server_address import TlsFiles
from qwen_triton.engines.triton_model.tls import client_context
from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve.tls import TlsClient
from tests.support.certificates import Certificate, make_certificate

WAIT_S = 10.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def own(folder: Path) -> Certificate:
    """Signed by itself."""
    return make_certificate(folder, "own")


@pytest.fixture(scope="module")
def signed(folder: Path) -> Certificate:
    """Signed by an authority."""
    return make_certificate(folder, "signed", make_certificate(folder, "authority"))


def files(certificate: Certificate, client_roots: Path | None = None) -> TlsFiles:
    return TlsFiles(certificate.certificate, certificate.key, client_roots)


def server_context(certificate: Certificate, client_roots: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    context.set_alpn_protocols(["h2"])
    if client_roots is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_roots)
    return context


@contextmanager
def echoing(context: ssl.SSLContext) -> Iterator[socket.socket]:
    """A socket whose other end speaks TLS and sends back what it gets."""
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT_S)

    def echo() -> None:
        with suppress(OSError), context.wrap_socket(theirs, server_side=True) as peer:
            assert peer.selected_alpn_protocol() == "h2"
            while data := peer.recv(1 << 16):
                peer.sendall(data)

    thread = threading.Thread(target=echo)
    thread.start()
    with ours:
        yield ours
    thread.join()


def echoed(connection: socket.socket, tls: TlsClient, data: bytes) -> bytes:
    """What comes back of `data`."""
    connection.sendall(tls.encrypt(data))
    back = b""
    while len(back) < len(data):
        back += tls.decrypt(connection.recv(1000))
    return back


@pytest.mark.parametrize("name", ["own", "signed"])
@pytest.mark.parametrize("mutual", [False, True])
def test_bytes_travel_encrypted(request: pytest.FixtureRequest, folder: Path, name: str, mutual: bool) -> None:
    """Records cut anywhere, as a socket gives them out."""
    certificate: Certificate = request.getfixturevalue(name)
    roots = (folder / "authority.crt" if name == "signed" else certificate.certificate) if mutual else None
    with echoing(server_context(certificate, roots)) as connection:
        tls = TlsClient(None, client_context(files(certificate, roots)))
        tls.handshake(connection)
        data = bytes(range(256)) * 300
        assert echoed(connection, tls, data) == data
        assert echoed(connection, tls, b"more") == b"more"


def test_another_certificate_is_not_trusted(folder: Path, own: Certificate, signed: Certificate) -> None:
    """Not even one of the same authority."""
    other = make_certificate(folder, "other", Certificate(folder / "authority.crt", folder / "authority.key"))
    for trusted, shown in ((own, signed), (signed, other)):
        with echoing(server_context(shown)) as connection:
            tls = TlsClient(None, client_context(files(trusted)))
            with pytest.raises(ssl.SSLCertVerificationError):
                tls.handshake(connection)


def test_a_peer_without_tls_fails_the_handshake(own: Certificate) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            TlsClient(None, client_context(files(own))).handshake(ours)


def test_a_peer_that_leaves_in_the_handshake_is_a_lost_connection(own: Certificate) -> None:
    ours, theirs = socket.socketpair()
    with ours, ExitStack() as stack:
        stack.enter_context(theirs)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectionResetError, match="during the TLS handshake"):
            TlsClient(None, client_context(files(own))).handshake(ours)


def test_a_certificate_that_the_server_takes_from_no_client_is_refused(
    folder: Path, own: Certificate, signed: Certificate
) -> None:
    """At the model's load, with the remedy: one that is for servers alone, one of another authority."""
    servers_alone = make_certificate(folder, "servers", use="serverAuth")
    for certificate, roots in ((servers_alone, servers_alone.certificate), (signed, own.certificate)):
        with pytest.raises(ConfigurationError, match=r"(?s)with --grpc-use-ssl-mutual one that .* accepts for clients"):
            client_context(files(certificate, roots))


def test_files_that_cannot_be_read_are_named(tmp_path: Path, own: Certificate) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.crt or a file beside it cannot be read \(No such file"):
        client_context(TlsFiles(tmp_path / "none.crt", own.key))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        client_context(TlsFiles(own.certificate, tmp_path / "none.key", own.certificate))
    shutil.copy(own.key, tmp_path / "key.crt")
    with pytest.raises(ConfigurationError, match=r"key\.crt must be a certificate in PEM"):
        client_context(TlsFiles(tmp_path / "key.crt", own.key))
