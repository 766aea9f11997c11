"""GenAI-Perf 0.0.8 and perf_analyzer 2.51 against the server, with the commands of those who measured stock with them.

perf_analyzer comes inside `tritonclient` 2.51.0. It needs libb64 of the system (scripts/install_perf_analyzer.sh) and CUDA's
runtime library, which a package of pip has; neither needs a GPU.

perf_analyzer reads the first number of every output that a model declares, past the end of an empty buffer where a response
leaves the output out. What lies there differs from run to run with the addresses of its memory; where it is NaN, its JSON
writer stops, and the export is cut off. The same happens with any model that leaves out an FP32 output.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.tensors.contract import BLS, TENSORRT_LLM
from tests.live.conftest import Serve
from tests.support.folders import ROOT
from tests.support.live.servers import LiveServer
from tests.support.live.tool_environment import tool_environment

pytestmark = [pytest.mark.live, pytest.mark.timeout(1200)]

PACKAGES = ("genai-perf==0.0.8", "tritonclient==2.51.0", "nvidia-cuda-runtime-cu12")
RUN_S = 240.0
CUT_OFF = "Failed to parse JSON string"
"""GenAI-Perf's words for an export that perf_analyzer cut off. Rare, so not three times one after another."""
RUNS = 3
BLOG = (
    "genai-perf profile -m ensemble --service-kind triton --backend tensorrtllm --num-prompts 1000 --random-seed 123 "
    "--synthetic-input-tokens-mean 200 --synthetic-input-tokens-stddev 0 --output-tokens-mean 100 --output-tokens-stddev 0 "
    "--output-tokens-mean-deterministic --tokenizer {tokenizer} --concurrency 80 --measurement-interval 4000 "
    "--profile-export-file my_profile_export.json --url {grpc} --server-metrics-url {metrics}"
)


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """Variables with which the tools run, of an environment with both of them."""
    home = tool_environment("genai-perf-0.0.8", *PACKAGES)
    (cuda,) = home.glob("lib/python*/site-packages/nvidia/cuda_runtime/lib")
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return own | {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "LD_LIBRARY_PATH": str(cuda)}


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    """As many slots as the blog's concurrency, 5 ms a token."""
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 5.0}})


def run(line: list[str], folder: Path, environment: dict[str, str]) -> None:
    """Runs the tool, again where perf_analyzer cut its export off."""
    for _ in range(RUNS):
        done = subprocess.run(
            line,
            capture_output=True,
            text=True,
            timeout=RUN_S,
            env=environment | {"HOME": str(folder)},
            cwd=folder,
            check=False,
        )
        said = done.stdout + done.stderr
        if CUT_OFF not in said:
            break
    assert done.returncode == 0, said[-4000:]


@pytest.mark.parametrize("streaming", [False, True], ids=["as it stands", "with --streaming"])
def test_the_blogs_line_of_genai_perf(
    server: LiveServer, qwen25_folder: Path, environment: dict[str, str], streaming: bool, tmp_path: Path
) -> None:
    """1,000 prompts of 200 tokens, 100 to generate, 80 at once: its figures are the workload's and the engine's."""
    line = BLOG.format(tokenizer=qwen25_folder, grpc=server.grpc, metrics=server.metrics).split()
    before = server.engine_counters()["tokens"]
    run([*line, *(["--streaming"] if streaming else [])], tmp_path, environment)
    (exported,) = tmp_path.rglob("my_profile_export_genai_perf.json")
    figures: dict[str, Any] = json.loads(exported.read_text())
    assert 190 <= figures["input_sequence_length"]["avg"] <= 201
    assert 99 <= figures["output_sequence_length"]["avg"] <= 101
    assert (
        figures["request_latency"]["min"] > 0.98 * 99 * 5
    )  # from the first token to the last there are 99 steps of 5 ms
    assert figures["output_token_throughput"]["avg"] > 0
    if streaming:
        assert 0 < figures["time_to_first_token"]["avg"] < figures["request_latency"]["avg"]
    (profile,) = tmp_path.rglob("my_profile_export.json")
    requests = json.loads(profile.read_text())["experiments"][0]["requests"]
    assert len(requests) >= 80
    assert server.engine_counters()["tokens"] - before >= len(requests) * 99


@pytest.mark.parametrize("model", [BLS, TENSORRT_LLM])
def test_perf_analyzer_with_inputs_of_a_file(
    server: LiveServer, environment: dict[str, str], model: str, tmp_path: Path
) -> None:
    """The command of docs/tools.md; the engine model with stock's tensors."""
    sent = ROOT / "deployments" / "tuning" / "perf-analyzer-input.json"
    if model == TENSORRT_LLM:
        sent = tmp_path / "ids.json"
        one = {"input_ids": {"content": [1, 2, 3], "shape": [3]}, "input_lengths": [3], "request_output_len": [20]}
        sent.write_text(json.dumps({"data": [one]}))
    line = f"perf_analyzer -m {model} -u {server.grpc} -i grpc --streaming --async --input-data {sent}"
    more = "--concurrency-range 8 --measurement-interval 2000 --stability-percentage 999 -f figures.csv"
    run([*line.split(), *more.split()], tmp_path, environment)
    (figures,) = csv.DictReader((tmp_path / "figures.csv").read_text().splitlines())
    assert (figures["Concurrency"], float(figures["Inferences/Second"]) > 1) == ("8", True)
