"""How an answer leaves: the one thing a call needs from Triton, so that calls are tested without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .tensors import Array


class Responder(Protocol):
    """Sends the responses of one Triton request. Used by one thread at a time, that of its lane."""

    request_id: str

    def send(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        """Sends one response with the arrays that the client asked for; the last one is `final`."""

    def fail(self, error: Exception) -> None:
        """Ends the request with an error."""

    def gone(self) -> bool:
        """Whether the client has left (a round trip to the server)."""
