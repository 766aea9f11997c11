"""TLS to the server's own gRPC: which certificate is trusted, and the encryption of one connection.

Encryption works on bytes, beside the socket: Python's SSLSocket may not be read and written by two threads at once, and
a select on it does not see what is decrypted already. Knows no HTTP/2 and no gRPC.
"""

from __future__ import annotations

import contextlib
import socket
import ssl

from ...errors import ConfigurationError
from .server_address import TlsFiles

_READ = 1 << 18


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Trusts the server's own certificate and no other. To a server that wants client certificates it shows the same.

    The host name is not checked: the certificate names the host that others see, and this connection stays on the
    machine. Raises ConfigurationError for files that cannot be read, and for a certificate that the server will not
    take from a client.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust a certificate that an authority has signed by itself
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(files.certificate)
        if files.client_roots is not None:
            context.load_cert_chain(files.certificate, files.key)
            _check_client_certificate(context, files)
    except ssl.SSLError as error:
        raise ConfigurationError(
            f"the server's own gRPC asks for TLS, and its certificate cannot be used for that ({error.reason}): "
            f"{_REMEDY.format(certificate=files.certificate, roots=files.client_roots)}"
        ) from error
    except OSError as error:
        raise ConfigurationError(
            f"the server's own gRPC asks for TLS, but {files.certificate} or a file beside it cannot be read "
            f"({error.strerror}); let the user that runs tritonserver read it"
        ) from error
    return context


_REMEDY = (
    "{certificate} must be a certificate in PEM, and with --grpc-use-ssl-mutual one that {roots} accepts for clients too; "
    "or serve gRPC on loopback without TLS (--grpc-address=127.0.0.1)"
)


def _check_client_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    """A handshake in memory, with a server that checks clients as tritonserver will: its gRPC does not listen yet.

    Raises ssl.SSLError for a certificate that --grpc-root-cert did not sign, or that is for servers only.
    """
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_cert_chain(files.certificate, files.key)
    server.load_verify_locations(files.client_roots)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (context.wrap_bio(to_client, to_server), server.wrap_bio(to_server, to_client, server_side=True))
    for end in ends * 2:
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()


class TlsConnection:
    """Encryption of one connection. Not for several threads at once."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._received = ssl.MemoryBIO()
        self._to_send = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._received, self._to_send)

    def handshake(self, connection: socket.socket) -> None:
        """Agrees on keys with the peer. Raises OSError: ssl.SSLError for a peer that is not trusted or knows no TLS."""
        while not self._is_agreed():
            connection.sendall(self._to_send.read())
            data = connection.recv(_READ)
            if not data:
                raise ConnectionResetError("the server closed the connection during the TLS handshake")
            self._received.write(data)
        connection.sendall(self._to_send.read())

    def decrypt(self, data: bytes) -> bytes:
        """What the bytes from the socket hold, as far as it has arrived. Raises ssl.SSLError when the peer breaks off."""
        self._received.write(data)
        parts = []
        with contextlib.suppress(ssl.SSLWantReadError):
            while part := self._tls.read(_READ):
                parts.append(part)
        return b"".join(parts)

    def encrypt(self, data: bytes) -> bytes:
        """The bytes for the socket, with what TLS itself has to send."""
        if data:
            self._tls.write(data)
        return self._to_send.read()

    def _is_agreed(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True
