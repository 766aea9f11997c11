"""--check-perf-json: figures within stock's tolerances pass, others are named; a file without them is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_bench.report.reference import Reference
from qwen_triton_bench.run.samples import Run, Sample
from qwen_triton_bench.run.statistics import Figures, figures


@pytest.fixture
def found() -> Figures:
    """Four requests one after the other, 500 ms and 10 tokens each."""
    samples = [Sample(n, n * 0.5, 7, 10, [n * 0.5 + 0.5], [10], [], 10, n * 0.5 + 0.5, 7, 10) for n in range(4)]
    return figures(Run(samples, 0.0, 2.0, 0.0, streamed=False))


def read(folder: Path, entry: object, absolute: float = 50, relative: float = 0.05) -> Reference:
    (folder / "ref.json").write_text(json.dumps({"here": entry}))
    return Reference.read(folder / "ref.json", "here", absolute, relative)


@pytest.mark.parametrize(
    ("entry", "absolute", "relative"),
    [
        ({"Avg. latency (ms)": 500}, 0, 0),
        ({"Avg. latency (ms)": 450}, 50, 0),
        ({"Avg. latency (ms)": 1000}, 0, 0.5),
        ({"Avg. Output tokens per request": 10, "Avg. IP tokens per request": 7, "Total requests": 4}, 0, 0),
    ],
)
def test_figures_near_the_reference_pass(
    entry: dict[str, float], absolute: float, relative: float, found: Figures, tmp_path: Path
) -> None:
    assert read(tmp_path, entry, absolute, relative).faults(found) == []


def test_each_figure_that_is_apart_is_named(found: Figures, tmp_path: Path) -> None:
    entry = {"Avg. latency (ms)": 400, "Total latency (ms)": 2000, "OP tokens/sec": 200}
    assert read(tmp_path, entry, 50, 0.05).faults(found) == [
        "Avg. latency (ms) is 500.00 where the reference is 400.00",
        "OP tokens/sec is 20.00 where the reference is 200.00",
    ]


@pytest.mark.parametrize(
    ("entry", "key", "reason"),
    [
        ({"Requests/Sec": 1}, None, "--check-perf-key: says which entry of --check-perf-json is compared; give it"),
        ({"Requests/Sec": 1}, "there", "--check-perf-key there: "),
        ({}, "here", "--check-perf-key here: expected figures, it has none; there are Requests/Sec, "),
        (
            {"Latency": 1},
            "here",
            "--check-perf-key here: expected figures, 'Latency' is none; there are Requests/Sec, ",
        ),
        (7, "here", "--check-perf-key here: "),
    ],
)
def test_a_file_without_such_figures_is_refused(entry: object, key: str | None, reason: str, tmp_path: Path) -> None:
    read(tmp_path, {"Requests/Sec": 1})
    (tmp_path / "ref.json").write_text(json.dumps({"here": entry}))
    with pytest.raises(ConfigurationError) as refusal:
        Reference.read(tmp_path / "ref.json", key, 50, 0.05)
    assert str(refusal.value).startswith(reason)


@pytest.mark.parametrize("text", [None, "{"])
def test_a_file_that_cannot_be_read_is_refused(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "ref.json").write_text(text)
    with pytest.raises(ConfigurationError, match=r"--check-perf-json .*ref\.json: cannot be read: "):
        Reference.read(tmp_path / "ref.json", "here", 50, 0.05)
