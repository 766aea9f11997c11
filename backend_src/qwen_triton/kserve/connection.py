"""gRPC calls over one HTTP/2 connection, as a protocol without a socket: bytes in, events out.

The package h2 speaks HTTP/2, but for two kinds of frames that come in. DATA frames are cut out of the bytes here, because
h2 makes several objects of each; so their flow control is kept here too: windows are opened as wide as they go and
refilled by hand. GOAWAY is read here, because h2 takes no frame after it, where calls under way are still answered.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event as HttpEvent
from h2.events import ResponseReceived, StreamEnded, StreamReset, TrailersReceived
from h2.exceptions import NoAvailableStreamIDError, ProtocolError, TooManyStreamsError
from h2.settings import SettingCodes, Settings

from ..errors import Unavailable
from .events import Ended, Event, Message
from .framing import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADER,
    CompressedMessage,
    FrameCutter,
    MessageCutter,
    decode_goaway,
    encode_message,
    encode_window_update,
    payload,
)
from .server_key import key_headers
from .status import StatusCode, status_of_headers, status_of_reset

_WINDOW = (1 << 31) - 1
_REFILL = 1 << 22
"""Bytes received before a window is refilled: seldom, and long before it is empty."""
_UNCOUNTED = 64
"""Calls that are opened without a count of those under way, at least."""


class _Http2(H2Connection):
    """Remembers fewer calls that have ended than h2's 65,536, of some 170 bytes each, and counts those under way seldom.

    What the server wrote to a call before it heard of its reset would break the connection once the call is forgotten. Such
    frames come before the answer to any later call, so only so many calls that are reset at once could do that.

    h2 looks at all calls for each new one: 70 us of processor time a call with 500 under way and 170 us with 2,000 on an
    EPYC, where this takes 44 us and 41 us.
    """

    MAX_CLOSED_STREAMS = 4096
    _left = 0
    """Calls that the last count left; it drops those that have ended."""

    @property
    def open_outbound_streams(self) -> int:
        """Calls under way, with some that have ended as long as the server would take as many."""
        known = len(self.streams)
        if known < min(2 * self._left + _UNCOUNTED, self.remote_settings.max_concurrent_streams):
            return known
        found = super().open_outbound_streams
        self._left = len(self.streams)
        return found


class _Stream:
    """One call: what waits to be sent, the part of a message that has come, and the headers of the answer so far."""

    __slots__ = ("cutter", "half_closed", "half_closing", "headers", "received", "waiting")

    def __init__(self) -> None:
        self.cutter = MessageCutter()
        self.waiting: deque[memoryview] = deque()
        self.half_closing = self.half_closed = False
        self.headers: dict[bytes, bytes] = {}
        self.received = 0


class GrpcConnection:
    """The client's end. The owner of the socket sends `data_to_send()` after any other method, and calls `receive`.

    Not for several threads at once. Methods do nothing for a call that has ended or was reset, because its owner may not
    know yet. `host` is HOST:PORT as the server is to see it (`authority`). Every call carries the key of the server that
    the environment names, if any. Raises ConfigurationError for a key that does not fit a header.
    """

    def __init__(self, host: str, scheme: str = "http") -> None:
        self._target = [(":scheme", scheme), (":authority", host)]
        self._key = key_headers()
        self._streams: dict[int, _Stream] = {}
        self._frames = FrameCutter()
        self._received = 0
        self._updates = b""
        self._over = ""
        self._http2 = _Http2(H2Configuration(client_side=True))
        self._http2.local_settings = Settings(
            client=True, initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW}
        )
        self._http2.initiate_connection()
        self._http2.increment_flow_control_window(_WINDOW - 65_535)

    @property
    def open_calls(self) -> int:
        """How many calls are under way."""
        return len(self._streams)

    @property
    def usable(self) -> bool:
        """Whether calls can be opened: not after the server's GOAWAY, nor once the connection is lost."""
        return not self._over

    def open(self, path: str, metadata: Iterable[tuple[str, str]] = ()) -> int:
        """Begins a call of `path` («/package.Service/Method»); returns its stream id. Raises Unavailable when the server
        takes no more of them."""
        if self._over:
            raise Unavailable(self._over)
        try:
            stream_id = self._http2.get_next_available_stream_id()
            headers = [(":method", "POST"), *self._target, (":path", path), ("te", "trailers")]
            self._http2.send_headers(
                stream_id, [*headers, ("content-type", "application/grpc"), *self._key.items(), *metadata]
            )
        except TooManyStreamsError:
            limit = self._http2.remote_settings.max_concurrent_streams
            raise Unavailable(f"the server takes {limit} calls at once on a connection; try again later") from None
        except NoAvailableStreamIDError:
            self._over = "the connection has no more stream ids"
            raise Unavailable(self._over) from None
        self._streams[stream_id] = _Stream()
        return stream_id

    def send(self, stream_id: int, message: bytes) -> None:
        """Sends a message, as soon as the server has room for it."""
        if stream_id in self._streams:
            self._streams[stream_id].waiting.append(memoryview(encode_message(message)))
            self._flush(stream_id)

    def half_close(self, stream_id: int) -> None:
        """Ends the client's side: no message follows those that were sent."""
        if stream_id in self._streams:
            self._streams[stream_id].half_closing = True
            self._flush(stream_id)

    def reset(self, stream_id: int) -> None:
        """Breaks a call off: the server sees it cancelled. No event follows, not even its end."""
        if self._streams.pop(stream_id, None) is not None:
            self._reset(stream_id, ErrorCodes.CANCEL)

    def data_to_send(self) -> bytes:
        """The bytes to be written now; each is returned once."""
        updates, self._updates = self._updates, b""
        return updates + self._http2.data_to_send()

    def receive(self, data: bytes) -> list[Event]:
        """The events in these bytes of the server. A breach of HTTP/2 ends the connection and all its calls."""
        events: list[Event] = []
        try:
            self._receive_frames(data, events)
        except ProtocolError as error:
            self._end_calls(f"the server broke HTTP/2's rules: {error}", events)
        return events

    def lost(self, reason: str) -> list[Event]:
        """Tells that the connection has ended; returns the ends of all calls, UNAVAILABLE for `reason`."""
        events: list[Event] = []
        self._end_calls(reason, events)
        return events

    def _receive_frames(self, data: bytes, events: list[Event]) -> None:
        others = bytearray()
        for kind, frame in self._frames.feed(data):
            if kind == DATA:
                self._receive_data(frame, events)
            elif kind == GOAWAY:
                self._receive_goaway(frame, events)
            else:
                others += frame
        if others:
            self._receive_others(bytes(others), events)
        self._received = self._refill(0, self._received)

    def _receive_data(self, frame: bytes, events: list[Event]) -> None:
        size = len(frame) - HEADER
        self._received += size
        stream_id = int.from_bytes(frame[5:HEADER], "big")
        stream = self._streams.get(stream_id)
        if stream is None:
            return
        try:
            for message in stream.cutter.feed(payload(frame)):
                events.append(Message(stream_id, message))
        except CompressedMessage:
            self._break_off(stream_id, "a compressed message came, which was not offered", events)
            return
        if frame[4] & END_STREAM:
            self._break_off(stream_id, "the call ended without a gRPC status", events)
            return
        stream.received = self._refill(stream_id, stream.received + size)

    def _refill(self, stream_id: int, received: int) -> int:
        """Widens a window by the bytes received, once they are many; h2 did not see them. Returns those not refilled."""
        if received < _REFILL:
            return received
        self._updates += encode_window_update(stream_id, received)
        return 0

    def _receive_others(self, data: bytes, events: list[Event]) -> None:
        """Gives h2 the other frames; sends what waited for the room that came with them."""
        for event in self._http2.receive_data(data):
            self._convert_event(event, events)
        for stream_id in [stream_id for stream_id, stream in self._streams.items() if stream.waiting]:
            self._flush(stream_id)

    def _convert_event(self, event: HttpEvent, events: list[Event]) -> None:
        if isinstance(event, ResponseReceived | TrailersReceived):
            if (stream := self._streams.get(event.stream_id or 0)) is not None:
                stream.headers.update((bytes(name), bytes(value)) for name, value in event.headers or ())
        elif isinstance(event, StreamEnded | StreamReset):
            self._end_stream(event, events)

    def _end_stream(self, event: StreamEnded | StreamReset, events: list[Event]) -> None:
        stream_id = event.stream_id or 0
        stream = self._streams.pop(stream_id, None)
        if stream is None:
            return
        if isinstance(event, StreamReset):
            events.append(Ended(stream_id, *status_of_reset(event.error_code or 0)))
            return
        if not stream.half_closed:
            self._reset(stream_id, ErrorCodes.NO_ERROR)
        events.append(Ended(stream_id, *status_of_headers(stream.headers)))

    def _break_off(self, stream_id: int, reason: str, events: list[Event]) -> None:
        self.reset(stream_id)
        events.append(Ended(stream_id, StatusCode.INTERNAL, reason))

    def _reset(self, stream_id: int, error: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):  # the server's own reset, or the connection's end, came before
            self._http2.reset_stream(stream_id, error)

    def _receive_goaway(self, frame: bytes, events: list[Event]) -> None:
        last, reason = decode_goaway(frame)
        self._end_calls(f"the server closes the connection: {reason or 'no reason given'}", events, after=last)

    def _end_calls(self, reason: str, events: list[Event], after: int = 0) -> None:
        """No call can be opened any more, and those with a stream id above `after` have ended."""
        self._over = self._over or reason
        for stream_id in [stream_id for stream_id in self._streams if stream_id > after]:
            del self._streams[stream_id]
            events.append(Ended(stream_id, StatusCode.UNAVAILABLE, reason))

    def _flush(self, stream_id: int) -> None:
        """Sends as much of a call's messages as the server's windows take; behind the last, their end."""
        http2, stream = self._http2, self._streams[stream_id]
        while stream.waiting:
            room = min(http2.local_flow_control_window(stream_id), http2.max_outbound_frame_size)
            if room <= 0:
                return
            data = stream.waiting.popleft()
            if len(data) > room:
                stream.waiting.appendleft(data[room:])
            http2.send_data(stream_id, bytes(data[:room]))
        if stream.half_closing and not stream.half_closed:
            stream.half_closed = True
            http2.end_stream(stream_id)


def authority(host: str, port: int) -> str:
    """HOST:PORT, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_authority(text: str) -> tuple[str, int]:
    """Host and port of HOST:PORT, an IPv6 address in brackets. Raises ValueError for anything else."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or "/" in host:
        raise ValueError(f"expected HOST:PORT, got {text!r}")
    return host.strip("[]"), int(port)
