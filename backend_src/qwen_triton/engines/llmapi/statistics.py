"""TensorRT-LLM's statistics of an iteration as the engine's counters. Pure: reads JSON objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engine import Counters


def add_iteration(counters: Counters, statistics: Mapping[str, Any]) -> None:
    """Takes over one iteration: states and totals replace the former ones.

    A request counts as running from when a worker has it. Tokens of the prefix cache are counted in whole blocks.
    """
    counters.steps += 1
    counters.running = int(statistics.get("numActiveRequests") or 0)
    counters.waiting = int(statistics.get("numQueuedRequests") or 0)
    cache = statistics.get("kvCacheStats") or {}
    blocks = cache.get("maxNumBlocks") or 0
    if blocks:
        counters.extra["kv_cache_usage"] = cache.get("usedNumBlocks", 0) / blocks
    if "reusedBlocks" in cache:
        size, found = cache.get("tokensPerBlock") or 1, cache["reusedBlocks"]
        counters.extra["prefix_cache_hits"] = float(size * found)
        counters.extra["prefix_cache_queries"] = float(size * (found + (cache.get("missedBlocks") or 0)))
