"""Ends and token counts of answers as tensors, alike for answers in text and in token ids.

Encodes them as arrays and decodes them from flat lists of values. Knows nothing of what an answer says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..types import FinishReason, TextChunk, Usage
from .arrays import RAW_DECODERS, Array, encode_strings
from .contract import (
    BATCH_INDEX,
    FINISH_REASON,
    NUM_CACHED_TOKENS,
    NUM_INPUT_TOKENS,
    NUM_OUTPUT_TOKENS,
    NUM_REASONING_TOKENS,
    SEQUENCE_INDEX,
    USAGE_OUTPUTS,
)

END_OUTPUTS = (FINISH_REASON, NUM_INPUT_TOKENS, NUM_OUTPUT_TOKENS, NUM_CACHED_TOKENS)
_DECODERS = {tensor.name: RAW_DECODERS[tensor.dtype] for tensor in USAGE_OUTPUTS}
_NONE = Usage(0, 0)


def encode_ends(rows: Sequence[Sequence[TextChunk | None]]) -> dict[str, Array]:
    """finish_reason and the token counts: [rows, n], those of the prompt [rows, 1]."""
    finish = [[(end.finish if end else None) or "" for end in ends] for ends in rows]
    usage = [[(end.usage if end else None) or _NONE for end in ends] for ends in rows]
    return {FINISH_REASON: encode_strings(finish), **encode_counts(usage)}


def encode_counts(usage: Sequence[Sequence[Usage]]) -> dict[str, Array]:
    """Token counts: [rows, n] of the answers, [rows, 1] of the prompts. Those of thinking only where one is known (else -1)."""
    thinking = [[-1 if u.reasoning_tokens is None else u.reasoning_tokens for u in row] for row in usage]
    known = any(count >= 0 for row in thinking for count in row)
    return {
        **({NUM_REASONING_TOKENS: np.array(thinking, np.int32)} if known else {}),
        NUM_INPUT_TOKENS: np.array([[row[0].prompt_tokens] for row in usage], np.int32),
        NUM_OUTPUT_TOKENS: np.array([[u.completion_tokens for u in row] for row in usage], np.int32),
        NUM_CACHED_TOKENS: np.array([[row[0].cached_tokens] for row in usage], np.int32),
    }


def decode_end(values: Mapping[str, Sequence[Any]], index: int = 0) -> tuple[FinishReason | None, Usage | None]:
    """Finish reason and token counts of sequence `index` of one row; None for what the response does not have.

    `values`: the outputs' values by name, flat. The counts of a response without a finish reason are those so far. A
    model that counts its answers but not its prompts leaves `prompt_tokens` at 0.
    """
    finish = value_at(values, FINISH_REASON, index, "") or None if FINISH_REASON in values else None
    if NUM_OUTPUT_TOKENS not in values:
        return finish, None
    prompt, completion = value_at(values, NUM_INPUT_TOKENS, 0, 0), value_at(values, NUM_OUTPUT_TOKENS, index, 0)
    thinking = value_at(values, NUM_REASONING_TOKENS, index, -1)
    cached = value_at(values, NUM_CACHED_TOKENS, 0, 0)
    return finish, Usage(prompt, completion, cached, thinking if thinking >= 0 else None)


def decode_raw_end(outputs: Mapping[str, bytes]) -> tuple[FinishReason | None, Usage | None]:
    """The same of a response's raw tensor contents."""
    return decode_end({name: _DECODERS[name](raw) for name, raw in outputs.items() if name in _DECODERS})


def decode_body_end(body: Mapping[str, Any]) -> tuple[FinishReason | None, Usage | None]:
    """The same of a response of Triton's generate endpoints."""
    return decode_end(decode_body_values(body))


def decode_body_values(body: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """Flat values by name of the generate endpoints' JSON, where one value stands alone."""
    return {name: value if isinstance(value, list) else [value] for name, value in body.items()}


def value_at(values: Mapping[str, Sequence[Any]], name: str, index: int, default: Any) -> Any:
    """Value `index` of an output; `default` where there is no such output or it is shorter."""
    found = values.get(name, ())
    return found[index] if index < len(found) else default


def encode_places(places: Sequence[tuple[int, int]]) -> dict[str, Array]:
    """batch_index and sequence_index [rows, 1]: of each row of a response its prompt, and its first sequence of that prompt."""
    rows, sequences = np.array(places, dtype=np.int32).reshape(-1, 2, 1).swapaxes(0, 1)
    return {BATCH_INDEX: rows, SEQUENCE_INDEX: sequences}


@lru_cache(maxsize=1024)
def encode_place(row: int, sequence: int) -> Mapping[str, Array]:
    """The same [1, 1] of a streamed response. The arrays are shared: every piece of a stream has the same."""
    return encode_places([(row, sequence)])
