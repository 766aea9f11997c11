"""Sequences for engines that step by themselves, and what becomes of them."""

from __future__ import annotations

import time
from typing import Any

from qwen_triton.engines.engine import StepEngine
from qwen_triton.types import EngineRequest, SamplingParams, TokenChunk


def request(
    ids: tuple[int, ...], ends: tuple[int, ...] = (), stops: tuple[int, ...] = (), **sampling: Any
) -> EngineRequest:
    return EngineRequest(ids, SamplingParams(**{"max_tokens": 8, "seed": 1, **sampling}), ends, stop_token_ids=stops)


def run(engine: StepEngine, wanted: int = 1) -> dict[int, list[TokenChunk]]:
    """All chunks of the sequences until `wanted` of them have ended."""
    chunks: dict[int, list[TokenChunk]] = {}
    deadline = time.monotonic() + 10
    while sum(c[-1].finish is not None for c in chunks.values()) < wanted:
        assert time.monotonic() < deadline
        for key, chunk in engine.step():
            chunks.setdefault(key, []).append(chunk)
    return chunks


def ids(chunks: list[TokenChunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]
