"""vLLM's scheduler statistics as the engine's counters. Reads attributes only: imports no vllm."""

from __future__ import annotations

from typing import Any

from ..engine import Counters

_PREEMPTED = 3
"""EngineCoreEventType.PREEMPTED."""
_QUEUED, _SCHEDULED = 1, 2


def add_step(counters: Counters, statistics: Any) -> None:
    """Takes over one step's SchedulerStats: states replace the former ones, the counts of a step are added."""
    extra = counters.extra
    counters.running = statistics.num_running_reqs
    counters.waiting = statistics.num_waiting_reqs + statistics.num_skipped_waiting_reqs
    extra["kv_cache_usage"] = statistics.kv_cache_usage
    extra.setdefault("preemptions", 0.0)
    prefix = statistics.prefix_cache_stats
    if prefix is not None:
        extra["prefix_cache_queries"] = extra.get("prefix_cache_queries", 0.0) + prefix.queries
        extra["prefix_cache_hits"] = extra.get("prefix_cache_hits", 0.0) + prefix.hits


def add_events(counters: Counters, events: Any) -> None:
    """Counts the preemptions of a sequence and, once it was scheduled, the seconds that it waited."""
    queued = None
    for event in events:
        if event.type == _QUEUED:
            queued = event.timestamp
        elif event.type == _SCHEDULED and queued is not None:
            counters.started += 1
            counters.queue_s += event.timestamp - queued
        elif event.type == _PREEMPTED:
            counters.extra["preemptions"] = counters.extra.get("preemptions", 0.0) + 1
