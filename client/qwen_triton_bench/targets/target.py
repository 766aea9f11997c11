"""Ways into the line. A target sends prompts and reports what comes back; it knows nothing of plans and figures."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from ..prompts.prompt import Prompt

_LONGEST = 120


class Counts(NamedTuple):
    """The server's own token counts at the end of an answer, and how it ended; None for what it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None


class Sink(Protocol):
    """Who is told. A target calls it from one thread of its own."""

    def received(self, request: int, content: bytes, size: int) -> None:
        """A response with content: its text (empty for ids) and how many tokens or bytes it brought."""

    def ended(self, request: int, counts: Counts) -> None:
        """The answer is complete."""

    def failed(self, request: int, kind: str) -> None:
        """The request ended with an error."""

    def lost(self, reason: str) -> None:
        """The connection has ended: nothing more comes for any request."""


class Target(Protocol):
    """One way in, open until closed."""

    streamed: bool

    def send(self, request: int, prompt: Prompt, sink: Sink) -> None:
        """Sends without waiting for anything."""

    def close(self) -> None:
        """Gives up what is still under way."""


def error_kind(message: str, code: str = "") -> str:
    text = re.sub(r"\b[0-9a-f]{12,}\b|\d+(\.\d+)?", "N", " ".join(message.split()))
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{code}: {text}" if code else text
