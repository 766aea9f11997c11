"""Requests to an engine model that is not ours, and its answers: stock's tensor contract from the caller's side.

Answers are read from raw bytes, as they come over the wire: one is read for each token.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..types import FinishReason, TokenChunk

OUTPUTS = ("output_ids", "sequence_length")
"""What the C++ backend must be asked for; without either it fails."""
LOG_PROB_OUTPUTS = ("output_log_probs", "cum_log_probs")


def decode_token_ids(outputs: Mapping[str, bytes]) -> list[int]:
    """The ids of a response with one sequence. Hot."""
    ids: list[int] = memoryview(outputs["output_ids"]).cast("i").tolist()
    length = int.from_bytes(outputs["sequence_length"], "little")
    return ids if length == len(ids) else ids[:length]


def decode_beams(outputs: Mapping[str, bytes]) -> list[TokenChunk]:
    """What one response holds: a chunk for each beam with its log probs where it has them, none of them final."""
    lengths = memoryview(outputs["sequence_length"]).cast("i").tolist()
    beams = len(lengths)
    ids = _rows(outputs["output_ids"], "i", beams)
    log_probs = _rows(outputs.get("output_log_probs", b""), "f", beams)
    totals: list[Any] = memoryview(outputs.get("cum_log_probs", b"")).cast("f").tolist() or [None] * beams
    return [
        TokenChunk(row[:length], probs[:length], sequence=n, cum_log_prob=total, last=n == beams - 1)
        for n, (row, length, probs, total) in enumerate(zip(ids, lengths, log_probs, totals, strict=False))
    ]


def _rows(raw: bytes, form: Literal["i", "f"], rows: int) -> list[list[Any]]:
    """Numbers of a tensor as so many rows."""
    values: list[Any] = memoryview(raw).cast(form).tolist()
    size = len(values) // rows
    return [values[n * size : (n + 1) * size] for n in range(rows)]


def finish_reason(tokens: int, max_tokens: int | None) -> FinishReason:
    """Why a sequence ended, which the C++ backend does not say: by its length, or before."""
    return "length" if max_tokens is not None and tokens >= max_tokens else "stop"
