"""One connection to the server's gRPC that carries requests to one engine model: a socket, and the calls over it.

All requests to a decoupled model share one call, with their ids to tell the answers apart. One that is not decoupled
would answer there in the order of the requests: each has a call of its own.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

from ...kserve.connection import GrpcConnection
from ...kserve.events import Ended, Event, Message
from ...kserve.messages import INFER, STREAM_INFER, InferResponse, decode_infer_response, decode_stream_response
from .server_address import GrpcAddress

_READ = 1 << 18
_CONNECT_S = 5.0


class ModelConnection:
    """Any thread may send; one receives. Raises OSError when nobody listens at the address."""

    def __init__(self, address: GrpcAddress, shared: bool) -> None:
        self._socket = socket.create_connection((address.host, address.port), _CONNECT_S)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._metadata = address.metadata
        self._lock = threading.Lock()
        self._grpc = GrpcConnection(f"{address.host}:{address.port}")
        self._shared = self._grpc.open(STREAM_INFER, self._metadata) if shared else None
        self._ids: dict[int, str] = {}
        self._write()

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def usable(self) -> bool:
        """Whether requests can be sent. Not after the server's goodbye, when answers may still come."""
        return self._grpc.usable

    def send(self, request_id: str, message: bytes) -> None:
        """Sends a request. Raises Unavailable when the server takes no more; a lost connection shows in `receive`."""
        with self._lock:
            if self._shared is not None:
                self._grpc.send(self._shared, message)
            else:
                call = self._grpc.open(INFER, self._metadata)
                self._ids[call] = request_id
                self._grpc.send(call, message)
                self._grpc.half_close(call)
            self._write()

    def receive(self) -> tuple[list[InferResponse], str]:
        """The responses that have arrived; and why nothing more comes, once that is so."""
        try:
            data = self._socket.recv(_READ)
            over = "" if data else "the server closed the connection"
        except OSError as error:
            data, over = b"", str(error)
        with self._lock:
            events = self._grpc.lost(over) if over else self._grpc.receive(data)
            self._write()
        if self._shared is None:
            return [response for event in events for response in self._read_own(event)], over
        responses = [decode_stream_response(event.data) for event in events if isinstance(event, Message)]
        ends = [event.message or event.code.name for event in events if isinstance(event, Ended)]
        return responses, "".join(ends)

    def close(self) -> None:
        """Breaks off all that is under way."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

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
        if data := self._grpc.data_to_send():
            with contextlib.suppress(OSError):  # who receives sees the connection's end
                self._socket.sendall(data)
