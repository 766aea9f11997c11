"""How answers ended and what they cost, as arrays: alike for answers in text and in token ids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..types import TextChunk, Usage
from .arrays import Array, encode_strings

_NONE = Usage(0, 0)


def encode_ends(rows: Sequence[Sequence[TextChunk | None]]) -> dict[str, Array]:
    """finish_reason and the token counts: [rows, n], those of the prompt [rows, 1]."""
    finish = [[(end.finish if end else None) or "" for end in ends] for ends in rows]
    usage = [[(end.usage if end else None) or _NONE for end in ends] for ends in rows]
    return {"finish_reason": encode_strings(finish), **encode_counts(usage)}


def encode_counts(usage: Sequence[Sequence[Usage]]) -> dict[str, Array]:
    """Token counts: [rows, n] of the answers, [rows, 1] of the prompts."""
    return {
        "num_input_tokens": np.array([[row[0].prompt_tokens] for row in usage], np.int32),
        "num_output_tokens": np.array([[u.completion_tokens for u in row] for row in usage], np.int32),
        "num_cached_tokens": np.array([[row[0].cached_tokens] for row in usage], np.int32),
    }


def encode_place(row: int, sequence: int) -> dict[str, Array]:
    """Which prompt and which of its sequences a streamed piece belongs to."""
    return {
        "batch_index": np.array([[row]], dtype=np.int32),
        "sequence_index": np.array([[sequence]], dtype=np.int32),
    }
