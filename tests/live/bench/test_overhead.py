"""`qwen-triton bench overhead` on real servers: every target is measured, by process, and beside another repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen_triton_build.cli import main
from tests.live.conftest import Serve

pytestmark = pytest.mark.live
TWO_ROUNDS = ("--rounds", "2")


def test_every_target_is_measured_by_process(
    qwen25_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """16 requests of 64 tokens for each target and the floor; each process that takes part is named with its time."""
    options = ["--concurrency", "8", "--pace", "2000", "--output-len", "64", "--input-len", "16"]
    file = tmp_path / "overhead.json"
    assert main(["bench", "overhead", *TWO_ROUNDS, "--model", str(qwen25_folder), *options, "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    costs = {c["via"]: c for c in written["costs"]}
    assert list(costs) == ["floor", "core", "ensemble", "bls", "openai"]
    assert [r["via"] for r in written["ratios_to_floor"]] == ["core", "ensemble", "bls", "openai"]
    assert all(r["tokens_per_s"] > 0 and r["cpu"] > 0 for r in written["ratios_to_floor"])
    for cost in costs.values():
        assert cost["figures"]["output_tokens"] == 16 * 64
        assert cost["figures"]["errors"] == {}
        assert cost["step_ms"] == pytest.approx(4.0)
        assert cost["cpu_us_per_token"] == pytest.approx(sum(cost["microseconds"].values()))
    assert {"server", "tensorrt_llm", "engine"} <= set(costs["core"]["microseconds"])
    assert costs["ensemble"]["microseconds"]["postprocessing"] > 0
    assert costs["bls"]["microseconds"]["tensorrt_llm_bls"] > 0
    assert costs["openai"]["microseconds"]["shim"] > 0
    assert set(costs["floor"]["microseconds"]) == {"server", "floor"}
    assert (costs["floor"]["batch"], costs["floor"]["successor_ms"]) == (None, None)
    assert all(1 <= costs[via]["batch"] <= 8 and costs[via]["successor_ms"] > 0 for via in list(costs)[1:])
    out = capfd.readouterr().out
    assert out.count("qwen-triton ") >= 8
    assert "Divided by the floor" in out


def test_processor_time_against_gaps_by_the_most_responses(
    qwen25_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Eight streams of 500 tokens/s each get 40 responses a second together, or nearly one for each token."""
    file = tmp_path / "curve.json"
    options = ["--via", "bls", "--concurrency", "8", "--pace", "4000", "--output-len", "500", "--input-len", "16"]
    command = ["bench", "overhead", "--rounds", "1", "--model", str(qwen25_folder), *options, "--json", str(file)]
    assert main([*command, "--curve", "40,100000"]) == 0
    costs = {c["repository"]: c for c in json.loads(file.read_text())["costs"]}
    assert list(costs) == ["40/s", "100,000/s"]
    assert all(c["figures"]["output_tokens"] == 8 * 500 for c in costs.values())
    few, many = (costs[name]["figures"]["responses"] for name in costs)
    assert few < many / 4
    out = capfd.readouterr().out
    assert "Processor seconds for a million tokens against gaps" in out
    assert [line.split()[0] for line in out.splitlines()[-2:]] == ["100,000/s", "40/s"]


def test_the_form_in_which_front_ends_are_compared(
    qwen25_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Through OpenAI's API, flat out, a row for each concurrency; lengths and rounds are those of the form unless given."""
    file = tmp_path / "mock.json"
    options = ["--concurrency", "2,4", "--rounds", "1", "--model", str(qwen25_folder), "--json", str(file)]
    assert main(["bench", "overhead", "--mock", *options]) == 0
    costs = json.loads(file.read_text())["costs"]
    assert [(c["via"], c["work"]["concurrency"], c["step_ms"]) for c in costs] == [
        ("openai", 2, 0.0),
        ("openai", 4, 0.0),
    ]
    assert [(c["work"]["input_tokens"], c["figures"]["output_tokens"]) for c in costs] == [(32, 2 * 512), (32, 4 * 512)]
    out = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in out if line.strip().startswith("openai")] == [["openai", "2"], ["openai", "4"]]
    assert any("CPU s/M tok" in line for line in out)


def test_another_repository_is_measured_in_the_same_run(
    qwen25_folder: Path, serve: Serve, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The same work, its own line under the folder's name."""
    other = serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 1.0}}).repository
    options = ["--concurrency", "4", "--output-len", "8", "--input-len", "8", "--via", "bls", "--flat-out"]
    file = tmp_path / "overhead.json"
    command = ["bench", "overhead", *TWO_ROUNDS, "--model", str(qwen25_folder), *options]
    assert main([*command, "--repository", str(other), "--json", str(file)]) == 0
    costs = json.loads(file.read_text())["costs"]
    assert [(c["repository"], c["figures"]["output_tokens"]) for c in costs] == [("qwen-triton", 64), (other.name, 64)]
    assert other.name in capfd.readouterr().out


def test_an_engine_of_one_token_a_response_costs_no_engine_process(qwen25_folder: Path, tmp_path: Path) -> None:
    """The stand-in for NVIDIA's backend runs in tensorrt_llm's own process, and the BLS reaches it. By the former name."""
    options = [
        "--concurrency",
        "4",
        "--output-len",
        "16",
        "--input-len",
        "16",
        "--pace",
        "400",
        "--engine",
        "one-token",
    ]
    file = tmp_path / "overhead.json"
    options += ["--via", "bls", "--model", str(qwen25_folder), "--json", str(file)]
    assert main(["bench", "line", *TWO_ROUNDS, *options]) == 0
    (cost,) = json.loads(file.read_text())["costs"]
    assert cost["figures"]["output_tokens"] == 8 * 16
    assert cost["microseconds"]["tensorrt_llm"] > 0
    assert "engine" not in cost["microseconds"]
