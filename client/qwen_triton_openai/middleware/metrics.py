"""Prometheus metrics of the shim, and the endpoint GET /metrics."""

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

_LABELS = ("model", "key")
_FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_GAP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LABELSLE_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ShimMetrics:
    """A watcher that counts requests. Label values are bounded: served models, names of keys, `paths` that exist."""

    def __init__(self, queue: WaitQueue, paths: Set[str]) -> None:
        self.registry = CollectorRegistry()
        self._paths = paths
        self._queue = queue
        self._running: set[RequestRecord] = set()
        self._requests = Counter(
            "qwen_triton_openai_requests",
            "Requests that have ended.",
            ("path", "status", *_LABELS),
            registry=self.registry,
        )
        self._first = self._histogram("time_to_first_token_seconds", "From the request to its first text.", _FIRST_S)
        self._gap = self._histogram("inter_token_seconds", "Between two pieces of a streamed answer.", _GAP_S)
        self._whole = self._histogram("request_seconds", "From the request to the end of its answer.", _LABELSLE_S)
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts.")
        self._cached = self._counter("cached_prompt_tokens", "Prompt tokens found in the engine's cache.")
        self._completion = self._counter("completion_tokens", "Tokens of answers.")
        self.registry.register(self)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"qwen_triton_openai_{name}", text, _LABELS, buckets=buckets, registry=self.registry)

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(f"qwen_triton_openai_{name}", text, _LABELS, registry=self.registry)

    @contextlib.contextmanager
    def watch(self, record: RequestRecord, scope: Scope) -> Iterator[None]:
        self._running.add(record)
        del scope
        record.on_model = self._observe_gaps
        try:
            yield
        finally:
            self._running.discard(record)
            self._count(record)

    def _observe_gaps(self, record: RequestRecord) -> None:
        """Looks up the histogram of a stream once: only now are its labels known, and a piece must cost little."""
        if record.streamed:
            record.on_gap = self._gap.labels(record.model, record.key_name).observe

    def _count(self, record: RequestRecord) -> None:
        path = record.path if record.path in self._paths else "other"
        labels = record.model, record.key_name
        self._requests.labels(path, str(record.status), *labels).inc()
        if not record.model:
            return
        self._whole.labels(*labels).observe(elapsed_s(record))
        if record.first_at is not None:
            self._first.labels(*labels).observe(record.first_at - record.started)
        self._prompt.labels(*labels).inc(record.prompt_tokens)
        self._cached.labels(*labels).inc(record.cached_tokens)
        self._completion.labels(*labels).inc(record.completion_tokens)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, computed at the scrape (prometheus_client's Collector)."""
        running = GaugeMetricFamily("qwen_triton_openai_in_flight", "Requests that generate now.", labels=_LABELS)
        for (model, key), count in Count((r.model, r.key_name) for r in self._running if r.model).items():
            running.add_metric((model, key), count)
        yield running
        yield GaugeMetricFamily(
            "qwen_triton_openai_queue_length",
            "Requests that wait until the model takes them.",
            value=self._queue.length,
        )

    def describe(self) -> list[Any]:
        """Empty: registration then neither scrapes nor compares names."""
        return []

    async def respond(self, request: Request) -> Response:
        """GET /metrics, in the format that the scraper asks for."""
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.registry), headers={"content-type": media_type})
