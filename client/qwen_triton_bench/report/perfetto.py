"""A run's requests as a trace for ui.perfetto.dev, in stock's form: a list of complete events, times in microseconds."""

from __future__ import annotations

from typing import Any

from ..run.samples import Run


def encode_trace(run: Run) -> list[dict[str, Any]]:
    """One event for each answered request, in the order of sending; `isl` and `osl` are its tokens in and out."""
    first = min((sample.sent for sample in run.samples), default=0.0)
    return [
        {
            "name": f"req_{sample.prompt}",
            "cat": "batch",
            "ph": "X",
            "ts": 1e6 * (sample.sent - first),
            "dur": 1e6 * sample.latency,
            "pid": "1",
            "args": {"isl": sample.input_tokens or sample.expected_input, "osl": sample.output_tokens or sample.ids},
        }
        for sample in run.samples
        if sample.answered
    ]
