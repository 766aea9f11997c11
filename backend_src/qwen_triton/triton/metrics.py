"""Publishes a model's metrics on Triton's own /metrics, once a second: every increment is a round trip to the server.

A histogram is a family of counters with a bound `le`, cumulative as in Prometheus, and its `_sum` and `_count`.
Processes with the same labels, as two loads of a model while it is reloaded, share a metric: each adds its own part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import accumulate
from typing import Any

import triton_python_backend_utils as pb

from ..serving.request_metrics import SECONDS, LatencyHistogram, RequestMetrics
from ..serving.threads import BackgroundThread

PREFIX = "qwen_triton_"
FLUSH_S = 1.0

_HISTOGRAMS = {
    "time_to_first_token_seconds": "From a request's arrival to its first text",
    "inter_token_latency_seconds": "Between two tokens of a sequence",
    "end_to_end_seconds": "From a request's arrival to a sequence's end",
}
_COUNTERS = {
    "prompt_tokens_total": "Tokens of the prompts of finished sequences",
    "output_tokens_total": "Tokens generated for finished sequences",
    "prompt_seconds_sum": "Seconds that requests took from their arrival to the engine",
    "prompt_seconds_count": "Requests that reached the engine",
}
_STATES = {
    "requests_running": ("Sequences that the engine is generating", "GAUGE"),
    "requests_waiting": ("Sequences that wait for a slot of the engine", "GAUGE"),
    "requests_in_flight": ("Requests admitted and not yet answered", "GAUGE"),
    "kv_cache_usage": ("Part of the key/value cache that is in use, 0 to 1", "GAUGE"),
    "queue_seconds_sum": ("Seconds that sequences waited for a slot of the engine", "COUNTER"),
    "queue_seconds_count": ("Sequences that got a slot of the engine", "COUNTER"),
    "engine_tokens_total": ("Tokens that the engine generated, for all of its clients", "COUNTER"),
    "engine_steps_total": ("Steps of the engine", "COUNTER"),
    "engine_step_sequences_total": ("Sequences that a step advanced, over all steps of the engine", "COUNTER"),
    "successor_seconds_sum": (
        "Seconds from the end of a sequence to the first token of the next in its place",
        "COUNTER",
    ),
    "successor_seconds_count": ("Sequences that began in the place of one that had ended", "COUNTER"),
    "prefix_cache_queries_total": ("Tokens of prompts that were looked for in the prefix cache", "COUNTER"),
    "prefix_cache_hits_total": ("Tokens of prompts that were found in the prefix cache", "COUNTER"),
    "token_cache_queries_total": ("Tokens of long prompts whose ids were looked for in the token cache", "COUNTER"),
    "token_cache_hits_total": ("Tokens of long prompts whose ids were found in the token cache", "COUNTER"),
    "token_cache_bytes": ("Memory of the token cache", "GAUGE"),
    "prompt_steps_total": ("Steps of the engine in which sequences began", "COUNTER"),
    "preemptions_total": ("Sequences that lost their place in the cache to others and were computed again", "COUNTER"),
}
"""Metrics of the dispatcher, the engine and the token cache; a model publishes those that its `states()` returns."""


class _Counter:
    """A counter that takes totals and sends increments. A total that falls is one of an engine that has started anew."""

    def __init__(self, family: Any, labels: dict[str, str]) -> None:
        self._metric = family.Metric(labels=labels)
        self._sent = 0.0

    def update(self, total: float) -> None:
        if total < self._sent:
            self._sent = 0.0
        if total > self._sent:
            self._metric.increment(total - self._sent)
            self._sent = total


class _Gauge:
    """A gauge that takes this process's value and sends what it has changed by."""

    def __init__(self, family: Any, labels: dict[str, str]) -> None:
        self._metric = family.Metric(labels=labels)
        self._sent = 0.0

    def update(self, value: float) -> None:
        if value != self._sent:
            self._metric.increment(value - self._sent)
            self._sent = value


class MetricsPublisher(BackgroundThread):
    """Publishes one model's request metrics, and the values of `states()`, until stopped. `labels` are on every metric.

    `answers` false: a step of an ensemble without an engine, of whose requests only the failed ones are counted. `stop()`
    publishes a last time.
    """

    def __init__(
        self,
        labels: Mapping[str, str],
        metrics: RequestMetrics,
        states: Callable[[], dict[str, float]],
        *,
        answers: bool = True,
    ) -> None:
        super().__init__("metrics")
        self._labels = labels
        self._metrics = metrics
        self._states = states
        self._answers = answers
        self._counters: dict[tuple[str, str], _Counter] = {}
        self._families = self._declare()
        self._gauges: dict[str, _Gauge] = {}

    def _declare(self) -> dict[str, Any]:
        counter = pb.MetricFamily.COUNTER
        families = {"requests_finished_total": ("Sequences by how they ended", counter)}
        families |= {name: (text, counter) for name, text in _COUNTERS.items()}
        families |= {name: (text, getattr(pb.MetricFamily, kind)) for name, (text, kind) in _STATES.items()}
        for name, text in _HISTOGRAMS.items():
            families |= {f"{name}_{part}": (text, counter) for part in ("bucket", "sum", "count")}
        return {
            name: pb.MetricFamily(name=PREFIX + name, description=text, kind=kind)
            for name, (text, kind) in families.items()
        }

    def _run(self) -> None:
        while not self._stopping.wait(FLUSH_S):
            self._publish()
        self._publish()
        for gauge in self._gauges.values():
            gauge.update(0.0)

    def _publish(self) -> None:
        for reason, count in list(self._metrics.finished.items()):
            self._count("requests_finished_total", count, finish_reason=reason)
        if self._answers:
            self._publish_answers()
        for name, value in self._states().items():
            self._state(name, value)

    def _publish_answers(self) -> None:
        metrics = self._metrics
        self._count("prompt_tokens_total", metrics.prompt_tokens)
        self._count("output_tokens_total", metrics.output_tokens)
        self._count("prompt_seconds_sum", metrics.prompt_seconds)
        self._count("prompt_seconds_count", metrics.submitted)
        self._histogram("time_to_first_token_seconds", metrics.time_to_first_token)
        self._histogram("inter_token_latency_seconds", metrics.inter_token_latency)
        self._histogram("end_to_end_seconds", metrics.end_to_end)

    def _state(self, name: str, value: float) -> None:
        if _STATES[name][1] == "COUNTER":
            self._count(name, value)
            return
        if name not in self._gauges:
            self._gauges[name] = _Gauge(self._families[name], dict(self._labels))
        self._gauges[name].update(value)

    def _histogram(self, name: str, histogram: LatencyHistogram) -> None:
        counts = list(accumulate(histogram.counts))
        for bound, count in zip((*map(str, SECONDS), "+Inf"), counts, strict=True):
            self._count(f"{name}_bucket", count, le=bound)
        self._count(f"{name}_sum", histogram.total)
        self._count(f"{name}_count", counts[-1])

    def _count(self, family: str, total: float, **labels: str) -> None:
        key = (family, next(iter(labels.values()), ""))
        if key not in self._counters:
            self._counters[key] = _Counter(self._families[family], {**self._labels, **labels})
        self._counters[key].update(total)
