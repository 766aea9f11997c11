"""Prompt of one request, in the forms that targets take: token ids, text, chat messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Prompt:
    """One request. `input_tokens`: the tokenizer's count, None without a tokenizer.

    Exactly one of `token_ids` and `text` is set; `messages` may accompany `text` for targets that take a chat.
    `output_tokens`: with `exact` so many are generated (end ids are ignored), else at most so many.
    """

    output_tokens: int
    token_ids: tuple[int, ...] | None = None
    text: str | None = None
    messages: tuple[Mapping[str, Any], ...] | None = None
    input_tokens: int | None = None
    exact: bool = True


Conversation = Sequence[Prompt]
"""Successive turns; each is sent when the one before has been answered. Most have one turn."""
