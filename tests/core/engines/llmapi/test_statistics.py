"""Statistics of TensorRT-LLM's iterations as counters: states replace the former ones, iterations are counted."""

from __future__ import annotations

from qwen_triton.engines.engine import Counters
from qwen_triton.engines.llmapi.statistics import add_iteration


def test_states_and_totals() -> None:
    counters = Counters()
    cache = {"maxNumBlocks": 200, "usedNumBlocks": 50, "tokensPerBlock": 32, "reusedBlocks": 3, "missedBlocks": 1}
    add_iteration(counters, {"iter": 8, "numActiveRequests": 5, "numQueuedRequests": 2, "kvCacheStats": cache})
    add_iteration(counters, {"iter": 9, "numActiveRequests": 4, "kvCacheStats": {**cache, "reusedBlocks": 4}})
    assert (counters.steps, counters.running, counters.waiting) == (2, 4, 0)
    assert counters.extra == {"kv_cache_usage": 0.25, "prefix_cache_hits": 128.0, "prefix_cache_queries": 160.0}


def test_what_a_release_does_not_tell_is_left_out() -> None:
    counters = Counters()
    add_iteration(counters, {"numActiveRequests": None, "kvCacheStats": None})
    add_iteration(counters, {"kvCacheStats": {"maxNumBlocks": 0, "usedNumBlocks": 0}})
    assert (counters.steps, counters.running, counters.extra) == (2, 0, {})
