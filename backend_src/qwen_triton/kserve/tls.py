"""TLS at the client's end of a socket: encrypts and decrypts bytes, so that two threads may share the socket.

Python's own SSLSocket must not be read and written by two threads at once; here only bytes are shared, under the
caller's lock.
"""

from __future__ import annotations

import socket
import ssl

_READ = 1 << 14


class TlsClient:
    """One session, trusting what `context` trusts. `host`: what the server's certificate must name; None = anything, for
    a context that does not check names.

    Not for several threads at once. All methods raise ssl.SSLError, an OSError.
    """

    def __init__(self, host: str | None, context: ssl.SSLContext | None = None) -> None:
        context = context or ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = context.wrap_bio(self._received, self._to_send, server_hostname=host)

    def handshake(self, connected: socket.socket) -> None:
        """Runs the handshake over a blocking socket. Raises OSError, also when the server hangs up."""
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                connected.sendall(self._to_send.read())
                data = connected.recv(_READ)
                if not data:
                    raise ConnectionResetError("the server closed the connection during the TLS handshake") from None
                self._received.write(data)
            else:
                connected.sendall(self._to_send.read())
                return

    def encrypt(self, data: bytes) -> bytes:
        """The bytes for the socket: `data` encrypted, and whatever TLS itself has to send."""
        if data:
            self._session.write(data)
        return self._to_send.read()

    def decrypt(self, data: bytes) -> bytes:
        """The content of all records that `data` completes; it may be empty."""
        self._received.write(data)
        content = bytearray()
        try:
            while part := self._session.read(_READ):
                content += part
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):  # no whole record is left, or the server says goodbye
            pass
        return bytes(content)
