"""Prometheus metrics of the shim, and the endpoint GET /metrics."""

from __future__ import annotations

from collections import Counter as Count
from collections.abc import Callable, Iterator, Set
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from .observe import RequestRecord, elapsed_s
from .queue import Slots

_Metric = TypeVar("_Metric", Counter, Histogram, Gauge)
_LABELS = ("model", "key")
_IN_FLIGHT = "qwen_triton_openai_in_flight", "Requests that generate now."
_QUEUE_LENGTH = "qwen_triton_openai_queue_length", "Requests that wait until the model takes them."
_FIRST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_GAP_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
_LABELSLE_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class ShimMetrics:
    """A watcher that counts requests. Label values are bounded: served models, names of keys, `paths` that exist."""

    def __init__(self, queue: Slots, paths: Set[str]) -> None:
        self.registry = CollectorRegistry()
        self._paths = paths
        self._queue = queue
        self._queue_length = 0
        self._running: set[RequestRecord] = set()
        self._children: dict[tuple[Any, ...], Counter | Histogram | Gauge] = {}
        self._requests = Counter(
            "qwen_triton_openai_requests",
            "Requests that have ended.",
            ("path", "status", *_LABELS),
            registry=self.registry,
        )
        self._sent = Counter(
            "qwen_triton_openai_model_requests",
            "Requests to the model: local, over a Unix socket to one of its processes, or grpc, through the server.",
            ("model", "way"),
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

    def watch(self, record: RequestRecord, scope: Scope) -> Callable[[], None]:
        self._running.add(record)
        del scope
        record.on_model = self._on_model
        return partial(self._end, record)

    def _end(self, record: RequestRecord) -> None:
        self._running.discard(record)
        self._count(record)

    def _on_model(self, record: RequestRecord) -> None:
        """Only now are the labels of a stream's histogram known."""
        if record.streamed:
            record.on_gap = self._child(self._gap, record.model, record.key_name).observe

    def _count(self, record: RequestRecord) -> None:
        path = record.path if record.path in self._paths else "other"
        labels = record.model, record.key_name
        self._child(self._requests, path, str(record.status), *labels).inc()
        if not record.model:
            return
        for way in record.ways:
            self._child(self._sent, record.model, way).inc()
        self._child(self._whole, *labels).observe(elapsed_s(record))
        if record.first_at is not None:
            self._child(self._first, *labels).observe(record.first_at - record.started)
        self._child(self._prompt, *labels).inc(record.prompt_tokens)
        self._child(self._cached, *labels).inc(record.cached_tokens)
        self._child(self._completion, *labels).inc(record.completion_tokens)

    def _child(self, metric: _Metric, *labels: str) -> _Metric:
        """A metric with its labels. `metric.labels` takes a lock and makes texts of them each time: kept here, as there."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return cast(_Metric, child)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, computed at the scrape (prometheus_client's Collector)."""
        running = GaugeMetricFamily(*_IN_FLIGHT, labels=_LABELS)
        for (model, key), count in Count((r.model, r.key_name) for r in self._running if r.model).items():
            running.add_metric((model, key), count)
        yield running
        yield self._waiting()

    def _waiting(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(*_QUEUE_LENGTH, value=self._queue_length)

    def describe(self) -> list[Any]:
        """Empty: registration then neither scrapes nor compares names."""
        return []

    async def respond(self, request: Request) -> Response:
        """GET /metrics, in the format that the scraper asks for."""
        self._queue_length = await self._queue.ask_length()
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self._exposed()), headers={"content-type": media_type})

    def _exposed(self) -> CollectorRegistry:
        return self.registry


class SharedMetrics(ShimMetrics):
    """Counts in files of `folder`, some for each process, and exposes the sum over all processes.

    Needs PROMETHEUS_MULTIPROC_DIR in the environment, the same folder, before prometheus_client is imported.
    """

    def __init__(self, queue: Slots, paths: Set[str], folder: Path) -> None:
        super().__init__(queue, paths)
        self._folder = str(folder)
        self._in_flight = Gauge(*_IN_FLIGHT, _LABELS, registry=self.registry, multiprocess_mode="livesum")

    def _on_model(self, record: RequestRecord) -> None:
        super()._on_model(record)
        self._child(self._in_flight, record.model, record.key_name).inc()

    def _count(self, record: RequestRecord) -> None:
        super()._count(record)
        if record.model:
            self._child(self._in_flight, record.model, record.key_name).dec()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauge that is in no file."""
        yield self._waiting()

    def _exposed(self) -> CollectorRegistry:
        exposed = CollectorRegistry()
        MultiProcessCollector(exposed, self._folder)  # type: ignore[no-untyped-call]  # the library's signature
        exposed.register(self)
        return exposed
