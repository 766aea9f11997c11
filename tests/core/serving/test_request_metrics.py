"""RequestMetrics: counts and times of requests, by how each sequence ended."""

from __future__ import annotations

import pytest

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, Unavailable
from qwen_triton.serving.request_metrics import SECONDS, LatencyHistogram, RequestMetrics
from qwen_triton.types import TextChunk, Usage


def test_a_histogram_counts_below_each_bound() -> None:
    histogram = LatencyHistogram()
    histogram.observe(0.001)
    histogram.observe(0.3, times=3)
    histogram.observe(1000.0)
    assert histogram.counts[0] == 1
    assert histogram.counts[SECONDS.index(0.5)] == 3
    assert histogram.counts[-1] == 1
    assert histogram.total == pytest.approx(1000.901)


def test_an_answer_is_counted_once_with_its_tokens() -> None:
    metrics = RequestMetrics()
    timer = metrics.start()
    timer.tokens(1)
    timer.tokens(4)
    timer.finished(TextChunk(finish="length", usage=Usage(7, 5)))
    assert (metrics.finished, metrics.prompt_tokens, metrics.output_tokens) == ({"length": 1}, 7, 5)
    assert sum(metrics.time_to_first_token.counts) == 1
    assert sum(metrics.inter_token_latency.counts) == 4
    assert sum(metrics.end_to_end.counts) == 1


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidRequest("no"), "invalid"),
        (Unavailable("later"), "unavailable"),
        (Cancelled("left"), "cancelled"),
        (EngineError("ours"), "error"),
        (RuntimeError("ours"), "error"),
    ],
)
def test_an_error_is_counted_by_its_kind(error: Exception, kind: str) -> None:
    metrics = RequestMetrics()
    metrics.start().failed(error)
    assert metrics.finished == {kind: 1}
