"""Events of the calls over a connection, and the listeners that they are delivered to."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from .status import StatusCode


class Message(NamedTuple):
    """A message of the server on one stream."""

    stream_id: int
    data: bytes


class Ended(NamedTuple):
    """The end of a call: its last event."""

    stream_id: int
    code: StatusCode
    message: str


Event = Message | Ended


class StreamListener(Protocol):
    """Receives what comes for one stream, in the order of arrival. Its methods must not raise, nor wait."""

    def on_message(self, message: bytes) -> None:
        """A message of the server."""

    def on_end(self, code: StatusCode, text: str) -> None:
        """The call has ended; nothing more comes."""


def deliver(events: Iterable[Event], listeners: dict[int, StreamListener]) -> None:
    """Hands events to the listeners of their streams; those of ended calls are taken out of `listeners`. Hot."""
    for event in events:
        if isinstance(event, Message):
            if (listener := listeners.get(event.stream_id)) is not None:
                listener.on_message(event.data)
        elif (listener := listeners.pop(event.stream_id, None)) is not None:
            listener.on_end(event.code, event.message)
