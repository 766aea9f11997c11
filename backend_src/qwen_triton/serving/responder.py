"""How an answer leaves: the one thing a call needs from Triton, so that calls are tested without it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from ..tensors.tensor import Array


class Responder(Protocol):
    """Sends the responses of one Triton request. Used by one thread at a time, that of its lane."""

    request_id: str

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        """Makes one response of the arrays that the client asked for; the last one is `final`."""

    def flush(self) -> None:
        """Sends what was written."""

    def fail(self, error: Exception) -> None:
        """Sends what was written and ends the request with an error."""

    def gone(self) -> bool:
        """Whether the client has left (a round trip to the server)."""
