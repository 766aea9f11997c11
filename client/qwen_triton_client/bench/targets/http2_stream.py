"""One gRPC call with streams both ways, for a reader that must cost little: a load tool shares the machine's cores.

The package h2 does the protocol, but for the DATA frames that come in: those are cut out of the bytes here, some
hundred a read. The grpc package takes a wake-up of two threads for each message, 120 µs where this takes 10.
Knows nothing of what the messages mean, and no TLS.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

_DATA = 0
_PADDED = 0x8
_FRAME = 9
_READ = 1 << 20
_WINDOW = (1 << 31) - 1
_REFILL = 1 << 22
_CONNECT_S = 10.0


class Http2Stream:
    """A call to `path`. `on_message` gets each message's bytes, `on_end` once why nothing more comes; on one thread."""

    def __init__(
        self, host: str, port: int, path: str, on_message: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._status = "the connection was closed"
        self._waiting: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._socket = socket.create_connection((host, port), _CONNECT_S)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._stream = self._start(f"{host}:{port}", path)
        self._reader = threading.Thread(target=self._read, name="answers", daemon=True)
        self._reader.start()

    def send(self, message: bytes) -> None:
        """Sends a message, or keeps it until the server has room; any thread."""
        with self._lock:
            self._waiting.append(struct.pack(">BI", 0, len(message)) + message)
            self._flush()

    def close(self) -> None:
        """Breaks the call off: the server sees a cancelled call."""
        with self._lock, contextlib.suppress(ProtocolError, OSError):
            self._http2.reset_stream(self._stream, 8)
            self._write()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _start(self, authority: str, path: str) -> int:
        http2 = self._http2
        http2.local_settings = http2.local_settings.__class__(
            client=True, initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW}
        )
        http2.initiate_connection()
        http2.increment_flow_control_window(_WINDOW - 65_535)
        stream = http2.get_next_available_stream_id()
        headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", authority)]
        http2.send_headers(stream, [*headers, ("te", "trailers"), ("content-type", "application/grpc")])
        self._write()
        return stream

    def _write(self) -> None:
        self._socket.sendall(self._http2.data_to_send())

    def _flush(self) -> None:
        """As much of the waiting messages as the server's windows take."""
        while self._waiting:
            room = min(self._http2.local_flow_control_window(self._stream), self._http2.max_outbound_frame_size)
            if not room:
                break
            message = self._waiting.popleft()
            if len(message) > room:
                self._waiting.appendleft(message[room:])
            self._http2.send_data(self._stream, message[:room])
        self._write()

    def _read(self) -> None:
        frames, messages, taken = _Frames(), _Messages(), 0
        try:
            while data := self._socket.recv(_READ):
                others = bytearray()
                for kind, frame in frames.feed(data):
                    if kind == _DATA:
                        taken += len(frame)
                        for message in messages.feed(_payload(frame)):
                            self._on_message(message)
                    else:
                        others += frame
                if others and self._follow(bytes(others)):
                    break
                if taken > _REFILL:
                    self._refill(taken)
                    taken = 0
        except (OSError, ProtocolError) as error:
            self._status = str(error)
        self._on_end(self._status)

    def _follow(self, data: bytes) -> bool:
        """Gives h2 what is not DATA and answers as it wants. True at the call's end."""
        with self._lock:
            events = self._http2.receive_data(data)
            self._flush()
        for event in events:
            self._take_status(event)
        return any(isinstance(event, StreamEnded | StreamReset) for event in events)

    def _take_status(self, event: Event) -> None:
        if isinstance(event, TrailersReceived):
            headers = {str(name): str(value) for name, value in event.headers or ()}
            self._status = headers.get("grpc-message") or f"grpc-status {headers.get('grpc-status')}"

    def _refill(self, taken: int) -> None:
        """Tells the server that bytes were read; h2 did not see them, so its own count stays."""
        update = struct.pack(">I", taken)
        with self._lock:
            for stream in (0, self._stream):
                self._socket.sendall(struct.pack(">IBI", 4 << 8 | 8, 0, stream) + update)


def _payload(frame: bytes) -> bytes:
    if frame[4] & _PADDED:
        return frame[_FRAME + 1 : len(frame) - frame[_FRAME]]
    return frame[_FRAME:]


class _Frames:
    """Cuts a byte stream into HTTP/2 frames: (type, the whole frame)."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while at + _FRAME <= end:
            size = _FRAME + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if at + size > end:
                break
            yield data[at + 3], data[at : at + size]
            at += size
        self._rest = data[at:]


class _Messages:
    """Cuts a stream of DATA into gRPC messages: one flag byte, four bytes of length, the message."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while at + 5 <= end:
            size = 5 + int.from_bytes(data[at + 1 : at + 5], "big")
            if at + size > end:
                break
            yield data[at + 5 : at + size]
            at += size
        self._rest = data[at:]
