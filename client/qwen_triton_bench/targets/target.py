"""Targets of a load: what sends prompts and reports what comes back. A target knows nothing of plans and figures."""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from qwen_triton.types import Usage

from ..prompts.prompt import Prompt

_LONGEST = 120


class Counts(NamedTuple):
    """The server's own token counts at the end of an answer, and how it ended; None for what it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    finish_reason: str | None = None


class AnswerListener(Protocol):
    """Receives what comes for requests. A target calls it from one thread of its own."""

    def on_response(self, request: int, content: bytes, size: int) -> None:
        """A response with content: its text (empty for ids) and how many tokens or bytes it brought."""

    def on_end(self, request: int, counts: Counts) -> None:
        """The answer is complete."""

    def on_error(self, request: int, kind: str) -> None:
        """The request ended with an error."""

    def on_lost(self, reason: str) -> None:
        """The connection has ended: nothing more comes for any request."""


class Target(Protocol):
    """One target, open until closed."""

    streamed: bool

    def send(self, request: int, prompt: Prompt, listener: AnswerListener) -> None:
        """Sends without waiting for anything."""

    def close(self) -> None:
        """Breaks off what is under way."""


def counts_of(finish: str | None, usage: Usage | None) -> Counts:
    """Counts of a Triton model's answer."""
    if usage is None:
        return Counts(finish_reason=finish)
    # No prompt has 0 tokens: 0 stands for a model that does not count its prompts.
    return Counts(usage.prompt_tokens or None, usage.completion_tokens, usage.cached_tokens, finish)


def error_kind(message: str, code: str = "") -> str:
    """An error's text without its numbers and ids, shortened, so that errors can be counted by kind."""
    text = re.sub(r"\b[0-9a-f]{12,}\b|\d+(\.\d+)?", "N", " ".join(message.split()))
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{code}: {text}" if code else text
