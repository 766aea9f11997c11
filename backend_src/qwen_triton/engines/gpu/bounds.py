"""Bounds of a request that a GPU library checks in the middle of a step, or not at all: ids, lengths, biases.

There one wrong request would end the engine for all, so it is refused before. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ...errors import InvalidRequest

MOST_BIASES = 1024


def check_prompt(token_ids: Sequence[int], max_context: int, vocab_size: int) -> None:
    """Raises InvalidRequest for a prompt that is empty, leaves no room for an answer, or has an id outside the vocabulary."""
    if not 1 <= len(token_ids) < max_context:
        raise InvalidRequest(f"must have 1 to {max_context - 1} tokens, got {len(token_ids)}", "input_ids")
    check_ids(token_ids, vocab_size, "input_ids")


def check_ids(ids: Sequence[int], vocab_size: int, field: str) -> None:
    """Raises InvalidRequest for an id outside the vocabulary."""
    if ids and not (min(ids) >= 0 and max(ids) < vocab_size):
        raise InvalidRequest(f"token ids must be in [0, {vocab_size})", field)


def check_biases(bias: Mapping[int, float], vocab_size: int) -> None:
    """Raises InvalidRequest for too many biases, and for one that is no finite number or of no token."""
    check_ids(list(bias), vocab_size, "logit_bias")
    if len(bias) > MOST_BIASES:
        raise InvalidRequest(f"at most {MOST_BIASES} tokens, got {len(bias)}", "logit_bias")
    if not all(map(math.isfinite, bias.values())):
        raise InvalidRequest("a bias must be a finite number", "logit_bias")
