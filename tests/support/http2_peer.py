"""The other end of a gRPC connection, for tests without a network: the package h2 as the server."""

from __future__ import annotations

from collections import Counter, defaultdict

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from qwen_triton.kserve.connection import GrpcConnection
from qwen_triton.kserve.events import Event as CallEvent

HEADERS = [(":status", "200"), ("content-type", "application/grpc")]


class Peer:
    """Takes what a client sends, and sends what a test says. `most`: calls at once."""

    def __init__(self, most: int = 100) -> None:
        self.http2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.http2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: most})
        self.requests: dict[int, dict[str, str]] = {}
        self.received: dict[int, bytearray] = defaultdict(bytearray)
        self.half_closed: set[int] = set()
        self.resets: dict[int, int] = {}

    def take(self, data: bytes) -> None:
        for event in self.http2.receive_data(data):
            self._note(event)

    def bytes_to_send(self) -> bytes:
        return self.http2.data_to_send()

    def exchange(self, client: GrpcConnection) -> list[CallEvent]:
        """Both ways until neither has anything to say."""
        events: list[CallEvent] = []
        while True:
            there, back = client.data_to_send(), self.bytes_to_send()
            if not there and not back:
                return events
            self.take(there)
            events += client.receive(back)

    def answer(self, call: int, *messages: bytes) -> None:
        """Headers, and these messages as DATA frames of their own."""
        self.http2.send_headers(call, HEADERS)
        for message in messages:
            self.say(call, message)

    def say(self, call: int, message: bytes) -> None:
        data = b"\0" + len(message).to_bytes(4, "big") + message
        most = self.http2.max_outbound_frame_size
        for at in range(0, len(data), most):
            self.http2.send_data(call, data[at : at + most])

    def end(self, call: int, code: int = 0, message: str = "") -> None:
        trailers = [("grpc-status", str(code)), *([("grpc-message", message)] if message else [])]
        self.http2.send_headers(call, trailers, end_stream=True)

    def _note(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            names = Counter(name for name, _ in event.headers)
            assert max(names.values()) == 1
            self.requests[event.stream_id] = dict(event.headers)
        elif isinstance(event, DataReceived):
            self.received[event.stream_id] += event.data
            self.http2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, StreamEnded):
            self.half_closed.add(event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets[event.stream_id] = int(event.error_code)
