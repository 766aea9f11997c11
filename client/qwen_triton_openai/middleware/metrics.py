"""Prometheus metrics of the shim, and GET /metrics."""

from __future__ import annotations

import contextlib
from collections import Counter as Count
from collections.abc import Iterator, Set
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from .observe import RequestRecord, elapsed_s
from .queue import WaitQueue
from .quick_histogram import QuickHistogram

_WHO = ("model", "key")
_FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_GAP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_WHOLE_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ShimMetrics:
    """A watcher. Labels are bounded: models that are served here, names of keys in force, `paths` that exist."""

    def __init__(self, queue: WaitQueue, paths: Set[str]) -> None:
        self.registry = CollectorRegistry()
        self._paths = paths
        self._queue = queue
        self._running: set[RequestRecord] = set()
        self._requests = Counter(
            "qwen_triton_openai_requests",
            "Requests that have ended.",
            ("path", "status", *_WHO),
            registry=self.registry,
        )
        self._first = self._histogram("time_to_first_token_seconds", "From the request to its first text.", _FIRST_S)
        self._gap = QuickHistogram(
            "qwen_triton_openai_inter_token_seconds", "Between two pieces of a streamed answer.", _WHO, _GAP_S
        )
        self._whole = self._histogram("request_seconds", "From the request to the end of its answer.", _WHOLE_S)
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.")
        self._cached = self._counter("cached_prompt_tokens", "Those found in the engine's cache.")
        self._completion = self._counter("completion_tokens", "Tokens of answers.")
        self.registry.register(self._gap)
        self.registry.register(self)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"qwen_triton_openai_{name}", text, _WHO, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"qwen_triton_openai_{name}", text, _WHO, registry=self.registry)

    @contextlib.contextmanager
    def watch(self, record: RequestRecord, scope: Scope) -> Iterator[None]:
        self._running.add(record)
        del scope
        record.on_asked = self._asked
        try:
            yield
        finally:
            self._running.discard(record)
            self._ended(record)

    def _asked(self, record: RequestRecord) -> None:
        """From here on the labels are known."""
        if record.streamed:
            record.on_gap = self._gap.observer(record.model, record.key_name)

    def _ended(self, record: RequestRecord) -> None:
        path = record.path if record.path in self._paths else "other"
        who = record.model, record.key_name
        self._requests.labels(path, str(record.status), *who).inc()
        if not record.model:
            return
        self._whole.labels(*who).observe(elapsed_s(record))
        if record.first_at is not None:
            self._first.labels(*who).observe(record.first_at - record.started)
        self._prompt.labels(*who).inc(record.prompt_tokens)
        self._cached.labels(*who).inc(record.cached_tokens)
        self._completion.labels(*who).inc(record.completion_tokens)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Gauges, taken from what is there now (prometheus_client's Collector)."""
        running = GaugeMetricFamily(
            "qwen_triton_openai_in_flight", "Requests whose answer has begun to be made.", labels=_WHO
        )
        for (model, key), count in Count((r.model, r.key_name) for r in self._running if r.model).items():
            running.add_metric((model, key), count)
        yield running
        yield GaugeMetricFamily(
            "qwen_triton_openai_queue_length", "Requests that wait for a place at the model.", value=self._queue.length
        )

    def describe(self) -> list[Any]:
        """Nothing is collected at registration: the gauges have no names to clash."""
        return []

    async def respond(self, request: Request) -> Response:
        """GET /metrics, in the format that the scraper asks for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"content-type": media_type})
