"""The command that measures on a GPU, on a vLLM that computes nothing: its rows, its table, and what it says when it cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fake_vllm import write_fake_front, write_fake_vllm
from tests.support.folders import ROOT

pytestmark = pytest.mark.live
LOADS = ["500 streamed", "500 whole", "64 streamed"]


@pytest.fixture
def library(tmp_path: Path) -> Path:
    return write_fake_front(write_fake_vllm(tmp_path / "library", "0.26.0+cpu"))


def figures(site: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    venv = ["--venv", str(Path(sys.executable).parents[1])]
    command = [str(ROOT / "tests/gpu/figures.sh"), *venv, "--python", sys.executable, "--site", str(site), *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False, cwd=site)


def test_a_row_for_each_load_and_each_way(library: Path, tmp_path: Path) -> None:
    rows = "0.5b-bf16/alone,0.5b-bf16/vllm-1,0.5b-bf16/ours-1,0.5b-bf16/vllm-rust"
    done = figures(library, "--rows", rows, "--requests", "16", "--json", str(tmp_path / "figures.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    found = {(r["way"], r["load"]): r for r in json.loads((tmp_path / "figures.json").read_text())["rows"]}
    ways = [(way, load) for way in ("vllm-1", "ours-1") for load in LOADS]
    assert list(found) == [("alone", "16 at once"), *ways, ("vllm-rust", "")]
    assert all(found[way]["figures"]["tokens_per_s"] > 0 for way in ways)
    assert set(found["ours-1", LOADS[0]]["figures"]["processor_s"]) >= {"bls", "engine", "shim"}
    assert set(found["vllm-1", LOADS[0]]["figures"]["processor_s"]) == {"front"}
    assert found["ours-1", LOADS[1]]["figures"]["first_ms"] is None
    assert re.search(r"^0\.5b-bf16 +ours-1 +500 streamed +[\d,]+ ", done.stdout, re.MULTILINE)
    assert "ours ÷ vLLM with one API process = " in done.stdout
    beside = (
        r"^0\.5b-bf16, 500 streamed: ours-1 ÷ vllm-1 = [\d.]+, goal 1\.0: .*reached; TTFT .* ms; gap .* ms; CPU .* s$"
    )
    assert re.search(beside, done.stdout, re.MULTILINE)
    assert "not available: vllm has no program vllm-rs here" in done.stdout


def test_a_server_that_does_not_start_is_a_row_with_its_last_lines(library: Path) -> None:
    done = figures(library, "--rows", "14b-gptq/alone,14b-gptq/vllm-1", "--engine", '{"no_such": 1}', "--requests", "2")
    assert done.returncode == 1
    assert "unexpected keyword argument 'no_such'" in done.stderr
    assert "vllm serve: unrecognized argument --no-such" in done.stderr
    assert "14b-gptq   vllm-1                  failed: it ended with code 1 while it started" in done.stdout


def test_an_interpreter_without_vllm_is_named(tmp_path: Path) -> None:
    done = figures(tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "figures.sh: --python: the interpreter has no vllm; name another, or a --site that has it\n",
    )
