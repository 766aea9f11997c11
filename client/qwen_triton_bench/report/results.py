"""Result file of a run: parameters, machine, figures and the raw samples they were computed from. Times are in seconds.

    {"format": "qwen-triton-bench/1", "name": …, "parameters": {…}, "machine": {…}, "figures": {…}, "samples": […]}

A run of `qwen-triton tune` has `settings` too: the values by deployment key that were tried in it.
Samples hold `sent`, `ended` and the response `times` relative to the run's start.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError

from ..run.samples import Run, Sample
from ..run.statistics import Figures

FORMAT = "qwen-triton-bench/1"


@dataclass(frozen=True)
class BenchmarkResult:
    """Content of a result file. `settings`: values by deployment key, of a run of `tune`."""

    name: str
    parameters: Mapping[str, Any]
    machine: Mapping[str, str]
    figures: Mapping[str, Any]
    samples: list[dict[str, Any]]
    settings: Mapping[str, Any] = field(default_factory=dict)


def encode_result(
    name: str, parameters: Mapping[str, Any], machine: Mapping[str, str], f: Figures, run: Run
) -> dict[str, Any]:
    """The run as JSON values; times of samples are relative to the run's start."""
    rates = {
        "requests_per_second": f.requests_per_second,
        "output_tokens_per_second": f.output_tokens_per_second,
        "tokens_per_response": f.tokens_per_response,
    }
    return {
        "format": FORMAT,
        "name": name,
        "parameters": dict(parameters),
        "machine": dict(machine),
        "interrupted": run.interrupted,
        "streamed": run.streamed,
        "figures": asdict(f) | rates,
        "samples": [_encode_sample(s, run.started) for s in run.samples],
    }


def _encode_sample(s: Sample, start: float) -> dict[str, Any]:
    def since(time: float) -> float:
        return round(time - start, 6)

    return {
        "sent": since(s.sent),
        "ended": None if s.ended is None else since(s.ended),
        "times": [since(t) for t in s.times],
        "sizes": s.sizes,
        "input_tokens": s.input_tokens,
        "output_tokens": s.output_tokens,
        "finish_reason": s.finish_reason,
        "error": s.error,
    }


def read_result(file: Path) -> BenchmarkResult:
    """Decodes a result file. Raises ConfigurationError for any other file."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: cannot be read as JSON: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ConfigurationError(f"{file}: is not a result of `qwen-triton bench … --json`")
    keys = ("name", "parameters", "machine", "figures", "samples")
    return BenchmarkResult(**{key: data[key] for key in keys}, settings=data.get("settings", {}))


def note_settings(file: Path, settings: Mapping[str, Any]) -> None:
    """Adds to a result file the values of the deployment that were tried in its run."""
    data = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(data | {"settings": dict(settings)}), encoding="utf-8")
