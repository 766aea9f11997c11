"""`qwen-triton tune` on real servers: the example of two builds, stopped and gone on with, and its report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from qwen_triton_build.cli import main
from tests.support.fake_vllm import write_fake_vllm
from tests.support.gpu_library import write_interpreter

pytestmark = pytest.mark.live


def test_two_builds_are_compared_and_the_better_one_named(
    qwen25_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The one that takes few sequences at once loses under a crowd; a second call measures nothing anew."""
    (tmp_path / "d.yaml").write_text(f"model: {qwen25_folder}\nengine: {{kind: replay}}\n")
    (tmp_path / "space.yaml").write_text(
        "cases:\n  small-batch: {engine.slots: 2, engine.step_ms: 4.0}\n"
        "  large-batch: {engine.slots: 64, engine.step_ms: 8.0}\n"
    )
    load = ["--load", "core --num-requests 32 token-norm-dist --input-mean 8 --output-mean 16"]
    results = tmp_path / "results"
    line = ["tune", str(tmp_path / "d.yaml"), "--space", str(tmp_path / "space.yaml"), "--results", str(results)]
    assert main([*line, "--max-latency", "60000", *load]) == 0
    first = capfd.readouterr().out
    assert "best with latency P99 ≤ 60000 ms: large-batch" in first
    assert "measured before" not in first
    assert main([*line, *load]) == 0
    assert capfd.readouterr().out.count("measured before") == 2
    assert main([*line, "--max-latency", "0.01", *load]) == 1
    assert "none is within the limits" in capfd.readouterr().err
    page = tmp_path / "report.html"
    assert main(["report", *map(str, results.glob("*.json")), "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "small-batch" in text
    legend = re.findall(r'<ul class="legend">.*?</ul>', text)[0]
    assert set(re.findall(r"</span>([^<]*)</li>", legend)) == {
        "engine.slots=2 engine.step_ms=4.0",
        "engine.slots=64 engine.step_ms=8.0",
    }


def test_arguments_of_vllm_s_engine_are_compared(
    qwen25_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """On a vLLM that computes nothing; a setting that does not start is listed with the reason and the remedy."""
    python = write_interpreter(tmp_path, write_fake_vllm(tmp_path / "library"))
    (tmp_path / "d.yaml").write_text(f"model: {qwen25_folder}\nengine: {{kind: vllm, python: {python}}}\n")
    (tmp_path / "space.yaml").write_text(
        "cases:\n  few: {engine.max_num_seqs: 2}\n  many: {engine.max_num_seqs: 64}\n"
        "  long: {engine.max_num_seqs: 64, engine.attention_backend: NO_MEMORY}\n"
    )
    load = ["--load", "bls --num-requests 32 token-norm-dist --input-mean 8 --output-mean 64"]
    results = tmp_path / "results"
    line = ["tune", str(tmp_path / "d.yaml"), "--space", str(tmp_path / "space.yaml"), "--results", str(results)]
    assert main([*line, *load]) == 0
    said = capfd.readouterr().out
    assert "best: many" in said
    assert "[3/3] long … engine: vLLM does not start: To serve at least one request" in said
    assert "set engine.max_model_len to 25936 or less" in said
