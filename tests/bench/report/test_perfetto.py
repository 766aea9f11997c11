"""A run as a trace for Perfetto: stock's events."""

from __future__ import annotations

from qwen_triton_bench.report.perfetto import encode_trace
from qwen_triton_bench.run.samples import Run, Sample


def test_one_event_for_each_answered_request() -> None:
    """Times in microseconds since the first was sent; a request without an answer has no length and is left out."""
    answered = Sample(0, 10.0, 7, 5, [10.25], [5], [], 5, 10.5, 7, 5)
    failed = Sample(1, 10.0, 7, 5, ended=11.0, error="refused")
    later = Sample(2, 10.125, 7, 5, [10.25], [4], [], 4, 10.25)
    assert encode_trace(Run([answered, failed, later], 10.0, 11.0, 0.0, streamed=True)) == [
        {
            "name": "req_0", "cat": "batch", "ph": "X", "ts": 0.0, "dur": 500_000.0, "pid": "1",
            "args": {"isl": 7, "osl": 5},
        },
        {
            "name": "req_2", "cat": "batch", "ph": "X", "ts": 125_000.0, "dur": 125_000.0, "pid": "1",
            "args": {"isl": 7, "osl": 4},
        },
    ]  # fmt: skip
