"""Metrics on Triton: increments of totals, also of an engine that has started anew, and only what a model has."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from qwen_triton.errors import InvalidRequest
from qwen_triton.serving.request_metrics import RequestMetrics


class Family:
    """Triton's family of metrics: keeps what each metric was raised by."""

    COUNTER, GAUGE = "counter", "gauge"
    raised: ClassVar[dict[str, list[float]]] = {}

    def __init__(self, name: str, description: str, kind: str) -> None:
        assert description
        assert kind in (self.COUNTER, self.GAUGE)
        self._name = name

    def Metric(self, labels: dict[str, str]) -> Any:  # noqa: N802  Triton's name
        assert labels["model"] == "m"
        return SimpleNamespace(increment=Family.raised.setdefault(self._name, []).append)


@pytest.fixture
def metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module with a Triton of this test; whoever imports it later gets it anew."""
    monkeypatch.setattr(Family, "raised", {})
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", SimpleNamespace(MetricFamily=Family))
    monkeypatch.delitem(sys.modules, "qwen_triton.triton.metrics", raising=False)
    yield importlib.import_module("qwen_triton.triton.metrics")
    sys.modules.pop("qwen_triton.triton.metrics", None)


def test_totals_of_an_engine_that_starts_anew_go_on(metrics: Any) -> None:
    """It counts from 0 again; a gauge just follows."""
    told = iter([(5, 2.0), (9, 1.0), (0, 0.0), (3, 1.0)])

    def states() -> dict[str, float]:
        tokens, running = next(told)
        return {"engine_tokens_total": tokens, "requests_running": running}

    publisher = metrics.MetricsPublisher({"model": "m"}, RequestMetrics(), states)
    for _ in range(4):
        publisher._publish()
    assert Family.raised["qwen_triton_engine_tokens_total"] == [5, 4, 3]
    assert Family.raised["qwen_triton_requests_running"] == [2.0, -1.0, -1.0, 1.0]


def test_only_what_an_engine_has_is_published(metrics: Any) -> None:
    publisher = metrics.MetricsPublisher({"model": "m"}, RequestMetrics(), lambda: {"preemptions_total": 2.0})
    publisher._publish()
    assert Family.raised["qwen_triton_preemptions_total"] == [2.0]
    assert "qwen_triton_prefix_cache_hits_total" not in Family.raised


def test_a_step_of_an_ensemble_counts_failed_requests_and_its_states(metrics: Any) -> None:
    """Not the tokens and times of answers, which are the engine model's."""
    requests = RequestMetrics()
    requests.start().failed(InvalidRequest("no"))
    states = {"token_cache_hits_total": 3.0, "token_cache_bytes": 700.0}
    metrics.MetricsPublisher({"model": "m"}, requests, lambda: states, answers=False)._publish()
    assert Family.raised == {
        "qwen_triton_requests_finished_total": [1],
        "qwen_triton_token_cache_hits_total": [3.0],
        "qwen_triton_token_cache_bytes": [700.0],
    }
