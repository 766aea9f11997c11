"""What the text model answers, as the shim reads it: the outputs it asks for, and a response's bytes as pieces."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any, NamedTuple

OUTPUTS = (
    "text_output", "finish_reason", "stop_reason", "num_input_tokens", "num_output_tokens", "num_cached_tokens",
    "sequence_index", "reasoning_opened",
)  # fmt: skip
"""Asked for with every request; a streamed piece carries only those that have something to say."""
LOGPROBS = "logprobs"

_LENGTH = struct.Struct("<I")


class Piece(NamedTuple):
    """New text of one sequence; the counts are set with `finish`, and with each piece where they were asked for.
    `merged`: as how many pieces it came."""

    text: str
    sequence: int = 0
    finish: str | None = None
    stop_reason: str | int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int = 0
    logprobs: list[dict[str, Any]] | None = None
    reasoning_opened: bool = False
    merged: int = 1


def merge_pieces(pieces: list[Piece]) -> list[Piece]:
    """What has piled up as one piece for each sequence: the same text, log probs and end; the latest counts."""
    merged: dict[int, Piece] = {}
    for piece in pieces:
        earlier = merged.get(piece.sequence)
        merged[piece.sequence] = piece if earlier is None else _joined(earlier, piece)
    return list(merged.values())


def _joined(first: Piece, second: Piece) -> Piece:
    counted = first if second.completion_tokens is None else second
    return Piece(
        first.text + second.text,
        first.sequence,
        second.finish,
        second.stop_reason,
        counted.prompt_tokens,
        counted.completion_tokens,
        counted.cached_tokens,
        None
        if first.logprobs is None and second.logprobs is None
        else [*(first.logprobs or ()), *(second.logprobs or ())],
        first.reasoning_opened or second.reasoning_opened,
        first.merged + second.merged,
    )


def read_strings(raw: bytes) -> list[str]:
    """The strings of a BYTES tensor: each with its length before it."""
    found, at = [], 0
    while at < len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        at += 4 + length
        found.append(raw[at - length : at].decode("utf-8", "replace"))
    return found


def _integers(raw: bytes | None) -> tuple[int, ...]:
    return struct.unpack(f"<{len(raw) // 4}i", raw) if raw else ()


def decode_pieces(outputs: Mapping[str, bytes]) -> list[Piece]:
    """A response's raw outputs: a streamed piece of one sequence, or the whole of all sequences of one prompt."""
    text = outputs.get("text_output", b"")
    if len(outputs) == 1 and len(text) == 4 + int.from_bytes(text[:4], "little"):  # most pieces are that and no more
        return [Piece(text[4:].decode("utf-8", "replace"))]
    texts = read_strings(text)
    first = (_integers(outputs.get("sequence_index")) or (0,))[0]
    finishes = read_strings(outputs.get("finish_reason", b""))
    reasons = read_strings(outputs.get("stop_reason", b""))
    prompt = _integers(outputs.get("num_input_tokens"))
    counts = _integers(outputs.get("num_output_tokens"))
    cached = _integers(outputs.get("num_cached_tokens"))
    logprobs = read_strings(outputs.get(LOGPROBS, b""))
    return [
        Piece(
            text,
            first + i,
            (finishes[i] or None) if finishes else None,
            json.loads(reasons[i]) if reasons else None,
            prompt[0] if prompt else None,
            counts[i] if counts else None,
            cached[0] if cached else 0,
            json.loads(logprobs[i]) if logprobs else None,
            any(outputs.get("reasoning_opened", b"")),
        )
        for i, text in enumerate(texts)
    ]
