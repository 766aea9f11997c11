"""AIPerf, as docs/tools.md gives its command, against the shim: it asks, is answered, and its figures are the server's.

The tool comes with 140 packages of its own, so it lives in an environment of its own, made once in `.cache/`.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from qwen_triton_bench.run.server import running_shim
from tests.support.live.servers import serving
from tests.support.live.tool_environment import tool_environment

pytestmark = pytest.mark.live

PACKAGE = "aiperf==0.13.0"
RUN_S = 240.0
REQUESTS, INPUT, OUTPUT = 40, 200, 50


@pytest.fixture(scope="module")
def aiperf() -> Path:
    """The program; installed where it is not yet."""
    return tool_environment("aiperf-0.13.0", PACKAGE) / "bin" / "aiperf"


def run(aiperf: Path, url: str, model: str, tokenizer: Path, folder: Path) -> dict[str, Any]:
    """One profile; what it exported."""
    line = [
        *(str(aiperf), "profile", "-m", model, "--url", url, "--endpoint-type", "chat", "--streaming"),
        *("--tokenizer", str(tokenizer), "--use-server-token-count", "--extra-inputs", "ignore_eos:true"),
        *("--synthetic-input-tokens-mean", str(INPUT), "--synthetic-input-tokens-stddev", "0"),
        *("--output-tokens-mean", str(OUTPUT), "--output-tokens-stddev", "0", "--concurrency", "8"),
        *("--request-count", str(REQUESTS), "--random-seed", "123", "--ui", "none"),
        *("--output-artifact-dir", str(folder)),
    ]
    environment = {k: v for k, v in os.environ.items() if k != "HF_HUB_OFFLINE"} | {"HOME": str(folder)}
    done = subprocess.run(line, capture_output=True, text=True, timeout=RUN_S, env=environment, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    (exported,) = folder.rglob("profile_export_aiperf.json")
    return dict(json.loads(exported.read_text()))


def test_aiperf_counts_what_the_server_counts(aiperf: Path, qwen25_folder: Path, tmp_path: Path) -> None:
    deployment = {"model": str(qwen25_folder), "engine": {"kind": "replay", "step_ms": 5.0}}
    with serving(deployment, tmp_path) as server, running_shim(server.grpc) as (url, _):
        figures = run(aiperf, url, "qwen", qwen25_folder, tmp_path / "artifacts")
        counted = server.engine_counters()
    assert figures["request_count"]["avg"] == REQUESTS
    assert figures.get("error_request_count", {"avg": 0})["avg"] == 0
    tokens = figures["output_sequence_length"]
    assert tokens["min"] == tokens["max"] == OUTPUT
    assert figures["input_sequence_length"]["min"] >= INPUT  # the chat template comes on top
    assert figures["time_to_first_token"]["min"] > 0
    assert counted["tokens"] >= REQUESTS * OUTPUT
