"""What one request asks for, in the words of whichever way in is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `input_tokens` is the tokenizer's count, None where nobody counted.

    Exactly one of `token_ids` and `text` is set; `messages` may stand beside `text` for ways in that take a chat.
    `output_tokens` are generated whatever the model says (end ids are ignored) when `exact`, else they are the most.
    """

    output_tokens: int
    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[Mapping[str, Any], ...] | None = None
    input_tokens: int | None = None
    exact: bool = True


Conversation = Sequence[Prompt]
"""Turns that follow one another: each is sent when the one before has been answered. Most have one turn."""
