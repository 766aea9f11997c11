"""TLS to the server's own gRPC: which certificate is trusted, and what a server with mutual TLS is shown.

Knows no socket; kserve/tls.py encrypts.
"""

from __future__ import annotations

import contextlib
import ssl

from ...errors import ConfigurationError
from .server_address import TlsFiles


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
