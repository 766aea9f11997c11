"""One connection to the server's gRPC that carries requests to one engine model: a socket, and the gRPC streams over it.

All requests to a decoupled model share one stream, with their ids to tell the answers apart. A model that is not
decoupled would answer there in the order of the requests, so each of its requests has a stream of its own.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator

from ...kserve.connection import GrpcConnection
from ...kserve.events import Ended, Event, Message
from ...kserve.messages import INFER, STREAM_INFER, InferResponse, decode_infer_response, decode_stream_response
from ...kserve.tls import TlsClient
from .server_address import GrpcAddress

_READ = 1 << 18
_CONNECT_S = 5.0


class ModelConnection:
    """Any thread may send; one receives. `tls`: the context for a server that serves gRPC with TLS.

    Raises OSError when nobody listens at the address, ssl.SSLError for a peer that is not the server.
    """

    def __init__(self, address: GrpcAddress, shared: bool, tls: ssl.SSLContext | None = None) -> None:
        self._socket = socket.create_connection((address.host, address.port), _CONNECT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tls = None if tls is None else self._open_tls(tls)
        self._socket.settimeout(None)
        self._metadata = address.metadata
        self._lock = threading.Lock()
        self._grpc = GrpcConnection(f"{address.host}:{address.port}", "http" if tls is None else "https")
        self._shared = self._grpc.open(STREAM_INFER, self._metadata) if shared else None
        self._ids: dict[int, str] = {}
        self._write()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def usable(self) -> bool:
        """Whether requests can be sent. Not after the server's GOAWAY, when answers may still come."""
        return self._grpc.usable

    def send(self, request_id: str, message: bytes) -> None:
        """Sends a request. Raises Unavailable when the server takes no more; a lost connection shows in `receive`."""
        with self._lock:
            if self._shared is not None:
                self._grpc.send(self._shared, message)
            else:
                stream = self._grpc.open(INFER, self._metadata)
                self._ids[stream] = request_id
                self._grpc.send(stream, message)
                self._grpc.half_close(stream)
            self._write()

    def receive(self) -> tuple[list[InferResponse], str]:
        """The responses that have arrived; and the reason, once nothing more will come."""
        data, reason = self._read()
        with self._lock:
            if self._tls is not None and not reason:
                data, reason = self._decrypt(self._tls, data)
            events = self._grpc.lost(reason) if reason else self._grpc.receive(data)
            self._write()
        if self._shared is None:
            return [response for event in events for response in self._read_own(event)], reason
        responses = [decode_stream_response(event.data) for event in events if isinstance(event, Message)]
        ends = [event.message or event.code.name for event in events if isinstance(event, Ended)]
        return responses, "".join(ends)

    def close(self) -> None:
        """Closes the connection; requests in flight are lost."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _open_tls(self, context: ssl.SSLContext) -> TlsClient:
        tls = TlsClient(None, context)
        try:
            tls.handshake(self._socket)
        except OSError:
            self._socket.close()
            raise
        return tls

    def _read(self) -> tuple[bytes, str]:
        try:
            data = self._socket.recv(_READ)
        except OSError as error:
            return b"", str(error)
        return data, "" if data else "the server closed the connection"

    def _decrypt(self, tls: TlsClient, data: bytes) -> tuple[bytes, str]:
        try:
            return tls.decrypt(data), ""
        except ssl.SSLError as error:
            return b"", str(error)

    def _read_own(self, event: Event) -> Iterator[InferResponse]:
        """Of a request with a call of its own: one response, or the error that the call ended with."""
        request_id = self._ids.pop(event.stream_id, None)
        if request_id is None:
            return
        if isinstance(event, Message):
            yield decode_infer_response(event.data)._replace(final=True)
        else:
            yield InferResponse(request_id, {}, True, event.message or event.code.name)

    def _write(self) -> None:
        data = self._grpc.data_to_send()
        if self._tls is not None:
            data = self._tls.encrypt(data)
        if data:
            with contextlib.suppress(OSError):  # the receiving thread sees the connection's end
                self._socket.sendall(data)
