"""What comes of calls: messages, and each one's end."""

from __future__ import annotations

from typing import NamedTuple

from .status import StatusCode


class Message(NamedTuple):
    """A message of a call."""

    call: int
    data: bytes


class Ended(NamedTuple):
    """A call's end; nothing comes for it any more."""

    call: int
    code: StatusCode
    message: str


Event = Message | Ended
