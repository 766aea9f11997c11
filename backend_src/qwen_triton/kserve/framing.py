"""Cuts a connection's bytes into HTTP/2 frames, and the DATA of a call into gRPC messages. Hot: no object for a frame.

Knows nothing of what a frame other than DATA and GOAWAY says, nor of what a message means.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from h2.exceptions import FrameTooLargeError

DATA = 0
GOAWAY = 7
END_STREAM = 0x1
HEADER = 9
"""Bytes before a frame's payload: length (3), type, flags, stream (4)."""
_LARGEST = HEADER + (1 << 14)
"""Bytes of a frame: HTTP/2's initial bound, which no setting of ours raises."""
_PADDED = 0x8
_PREFIX = 5
"""Bytes before a message: whether it is compressed (1), its length (4)."""


class CompressedMessage(Exception):
    """A message came compressed, which was not offered."""


def encode_message(message: bytes) -> bytes:
    """A message with its prefix, as the content of DATA frames."""
    return struct.pack(">BI", 0, len(message)) + message


def encode_window_update(stream: int, size: int) -> bytes:
    """A WINDOW_UPDATE frame; stream 0 is the connection."""
    return struct.pack(">IBII", 4 << 8 | 8, 0, stream, size)


def payload(frame: bytes) -> bytes:
    """A DATA frame's content, without its padding."""
    return frame[HEADER + 1 : len(frame) - frame[HEADER]] if frame[4] & _PADDED else frame[HEADER:]


def decode_goaway(frame: bytes) -> tuple[int, str]:
    """A GOAWAY frame: the last stream id that the server still answers, and its reason."""
    last = int.from_bytes(frame[HEADER : HEADER + 4], "big") & 0x7FFFFFFF
    return last, frame[HEADER + 8 :].decode("utf-8", "replace")


class FrameCutter:
    """Cuts a connection's bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """(type, the whole frame) of each that `data` completes. Raises FrameTooLargeError for what cannot be one."""
        data = self._rest + data if self._rest else data
        at, end = 0, len(data)
        while at + HEADER <= end:
            size = HEADER + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
            if size > _LARGEST:
                raise FrameTooLargeError(f"a frame of {size} bytes; is it HTTP/2 that answers?")
            if at + size > end:
                break
            yield data[at + 3], data[at : at + size]
            at += size
        self._rest = data[at:]


class MessageCutter:
    """Cuts a call's DATA into messages. The frames of a long message are joined once, when all have come."""

    __slots__ = ("_held", "_parts", "_wanted")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._held = 0
        self._wanted = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes. Raises CompressedMessage."""
        if self._parts:
            self._parts.append(data)
            self._held += len(data)
            if self._held < self._wanted:
                return []
            data = b"".join(self._parts)
            self._parts = []
        elif data[:1] == b"\0" and len(data) == _PREFIX + int.from_bytes(data[1:_PREFIX], "big"):
            return [data[_PREFIX:]]  # one message in one frame: most of a stream
        return self._cut(data)

    def _cut(self, data: bytes) -> list[bytes]:
        messages, at, end = [], 0, len(data)
        while at < end:
            size = _PREFIX
            if at + _PREFIX <= end:
                if data[at]:
                    raise CompressedMessage
                size += int.from_bytes(data[at + 1 : at + _PREFIX], "big")
            if at + size > end or at + _PREFIX > end:
                self._parts, self._held, self._wanted = [data[at:]], end - at, size
                break
            messages.append(data[at + _PREFIX : at + size])
            at += size
        return messages
