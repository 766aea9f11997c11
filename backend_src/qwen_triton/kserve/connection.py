"""Many calls over one connection. The package h2 speaks HTTP/2, but for the DATA frames that come in.

Those are cut out of the bytes here, some hundred a read: h2 takes 120 µs for what takes 10. So their flow control is
kept here too: windows are opened as wide as they go and filled up by hand. And a server's goodbye (GOAWAY) is heard
here, since h2 would then take nothing more, where the calls under way may still be answered.
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
from .framing import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADER,
    CompressedMessage,
    FrameCutter,
    MessageCutter,
    decode_goodbye,
    encode_message,
    encode_window_update,
    payload,
)
from .status import Ended, Event, Message, StatusCode, status_of_headers, status_of_reset

_WINDOW = (1 << 31) - 1
_REFILL = 1 << 22
"""Bytes taken before the server is told: rarely, and long before a window is empty."""


class _Call:
    """What waits to be sent, what has come of a message, and the headers of the answer so far."""

    __slots__ = ("cutter", "half_closed", "half_closing", "headers", "taken", "waiting")

    def __init__(self) -> None:
        self.cutter = MessageCutter()
        self.waiting: deque[memoryview] = deque()
        self.half_closing = self.half_closed = False
        self.headers: dict[bytes, bytes] = {}
        self.taken = 0


class GrpcConnection:
    """The client's end. Whoever owns the socket sends `data_to_send()` after any other method, and `receive`s.

    Not for several threads at once. A call that has ended or was reset takes nothing more, silently: its owner may not
    know yet. `authority` is HOST:PORT as the server is to see it.
    """

    def __init__(self, authority: str, scheme: str = "http") -> None:
        self._target = [(":scheme", scheme), (":authority", authority)]
        self._calls: dict[int, _Call] = {}
        self._frames = FrameCutter()
        self._taken = 0
        self._updates = b""
        self._over = ""
        self._http2 = H2Connection(H2Configuration(client_side=True))
        self._http2.local_settings = Settings(
            client=True, initial_values={SettingCodes.ENABLE_PUSH: 0, SettingCodes.INITIAL_WINDOW_SIZE: _WINDOW}
        )
        self._http2.initiate_connection()
        self._http2.increment_flow_control_window(_WINDOW - 65_535)

    @property
    def calls(self) -> int:
        """Calls under way."""
        return len(self._calls)

    @property
    def usable(self) -> bool:
        """Whether calls can be opened: not after the server has said goodbye, nor once the connection is lost."""
        return not self._over

    def open(self, path: str, metadata: Iterable[tuple[str, str]] = ()) -> int:
        """Begins a call («/package.Service/Method») and names it. Raises Unavailable when the server takes no more."""
        if self._over:
            raise Unavailable(self._over)
        try:
            call = self._http2.get_next_available_stream_id()
            headers = [(":method", "POST"), *self._target, (":path", path), ("te", "trailers")]
            self._http2.send_headers(call, [*headers, ("content-type", "application/grpc"), *metadata])
        except TooManyStreamsError:
            limit = self._http2.remote_settings.max_concurrent_streams
            raise Unavailable(f"the server takes {limit} calls at once on a connection; try again later") from None
        except NoAvailableStreamIDError:
            self._over = "the connection has no more numbers for calls"
            raise Unavailable(self._over) from None
        self._calls[call] = _Call()
        return call

    def send(self, call: int, message: bytes) -> None:
        """Sends a message, as soon as the server has room for it."""
        if call in self._calls:
            self._calls[call].waiting.append(memoryview(encode_message(message)))
            self._flush(call)

    def half_close(self, call: int) -> None:
        """Says that no more messages follow those that were sent."""
        if call in self._calls:
            self._calls[call].half_closing = True
            self._flush(call)

    def reset(self, call: int) -> None:
        """Breaks a call off: the server sees it cancelled. Nothing comes for it any more, not even its end."""
        if self._calls.pop(call, None) is not None:
            self._reset(call, ErrorCodes.CANCEL)

    def data_to_send(self) -> bytes:
        """What is to be written now; each byte once."""
        updates, self._updates = self._updates, b""
        return updates + self._http2.data_to_send()

    def receive(self, data: bytes) -> list[Event]:
        """What these bytes bring. A breach of HTTP/2 ends the connection, and all calls with it."""
        events: list[Event] = []
        try:
            self._take(data, events)
        except ProtocolError as error:
            self._give_up(f"the server broke HTTP/2's rules: {error}", events)
        return events

    def lost(self, reason: str) -> list[Event]:
        """The connection has ended: the ends of all calls."""
        events: list[Event] = []
        self._give_up(reason, events)
        return events

    def _take(self, data: bytes, events: list[Event]) -> None:
        others = bytearray()
        for kind, frame in self._frames.feed(data):
            if kind == DATA:
                self._take_data(frame, events)
            elif kind == GOAWAY:
                self._take_goodbye(frame, events)
            else:
                others += frame
        if others:
            self._follow(bytes(others), events)
        self._taken = self._refill(0, self._taken)

    def _take_data(self, frame: bytes, events: list[Event]) -> None:
        size = len(frame) - HEADER
        self._taken += size
        number = int.from_bytes(frame[5:HEADER], "big")
        call = self._calls.get(number)
        if call is None:
            return
        try:
            for message in call.cutter.feed(payload(frame)):
                events.append(Message(number, message))
        except CompressedMessage:
            self._break_off(number, "a compressed message came, which was not offered", events)
            return
        if frame[4] & END_STREAM:
            self._break_off(number, "the call ended without a gRPC status", events)
            return
        call.taken = self._refill(number, call.taken + size)

    def _refill(self, stream: int, taken: int) -> int:
        """Tells the server that bytes were read, once they are many; h2 did not see them. Returns what is not told."""
        if taken < _REFILL:
            return taken
        self._updates += encode_window_update(stream, taken)
        return 0

    def _follow(self, data: bytes, events: list[Event]) -> None:
        """Gives h2 what is not DATA, and what waits the room that came with it."""
        for event in self._http2.receive_data(data):
            self._take_event(event, events)
        for call in [number for number, call in self._calls.items() if call.waiting]:
            self._flush(call)

    def _take_event(self, event: HttpEvent, events: list[Event]) -> None:
        if isinstance(event, ResponseReceived | TrailersReceived):
            if (call := self._calls.get(event.stream_id or 0)) is not None:
                call.headers.update((bytes(name), bytes(value)) for name, value in event.headers or ())
        elif isinstance(event, StreamEnded | StreamReset):
            self._take_end(event, events)

    def _take_end(self, event: StreamEnded | StreamReset, events: list[Event]) -> None:
        number = event.stream_id or 0
        call = self._calls.pop(number, None)
        if call is None:
            return
        if isinstance(event, StreamReset):
            events.append(Ended(number, *status_of_reset(event.error_code or 0)))
            return
        if not call.half_closed:
            self._reset(number, ErrorCodes.NO_ERROR)
        events.append(Ended(number, *status_of_headers(call.headers)))

    def _break_off(self, number: int, reason: str, events: list[Event]) -> None:
        self.reset(number)
        events.append(Ended(number, StatusCode.INTERNAL, reason))

    def _reset(self, number: int, error: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):  # the server's own reset, or the connection's end, came before
            self._http2.reset_stream(number, error)

    def _take_goodbye(self, frame: bytes, events: list[Event]) -> None:
        last, said = decode_goodbye(frame)
        self._give_up(f"the server closes the connection: {said or 'no reason given'}", events, after=last)

    def _give_up(self, reason: str, events: list[Event], after: int = 0) -> None:
        """No call can be opened any more, and those with a number above `after` have ended."""
        self._over = self._over or reason
        for number in [number for number in self._calls if number > after]:
            del self._calls[number]
            events.append(Ended(number, StatusCode.UNAVAILABLE, reason))

    def _flush(self, number: int) -> None:
        """As much of a call's messages as the server's windows take; then, if there are no more, their end."""
        http2, call = self._http2, self._calls[number]
        while call.waiting:
            room = min(http2.local_flow_control_window(number), http2.max_outbound_frame_size)
            if room <= 0:
                return
            data = call.waiting.popleft()
            if len(data) > room:
                call.waiting.appendleft(data[room:])
            http2.send_data(number, bytes(data[:room]))
        if call.half_closing and not call.half_closed:
            call.half_closed = True
            http2.end_stream(number)
