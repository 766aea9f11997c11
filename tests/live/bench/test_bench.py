"""`qwen-triton bench` against real servers: every way in answers, counts agree, figures follow from the raw samples."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qwen_triton_build.cli import main
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live


def bench(mode: str, url: str, file: Path, *options: str) -> dict[str, Any]:
    """One short run's result file."""
    assert main(["bench", mode, "-u", url, "--json", str(file), *options]) == 0
    result = json.loads(file.read_text())
    assert result["format"] == "qwen-triton-bench/1"
    return dict(result)


def check_consistency(result: dict[str, Any]) -> None:
    """Every figure is what the raw samples say."""
    samples, f = result["samples"], result["figures"]
    assert f["errors"] == {}
    assert f["sent"] == f["answered"] == len(samples)
    assert f["output_tokens"] == sum(s["output_tokens"] for s in samples)
    assert f["input_tokens"] == sum(s["input_tokens"] for s in samples)
    assert f["responses"] == sum(len(s["times"]) for s in samples)
    latencies = [s["ended"] - s["sent"] for s in samples]
    assert f["latencies_sum"] == pytest.approx(sum(latencies), abs=1e-3)
    assert f["latency"]["percentiles"]["99"] == pytest.approx(np.percentile(latencies, 99), abs=1e-4)
    assert f["seconds"] == pytest.approx(max(s["ended"] for s in samples), abs=1e-3)
    assert f["in_flight"]["mean"] == pytest.approx(sum(latencies) / f["seconds"], rel=1e-2)
    gaps = np.concatenate([np.diff(s["times"]) for s in samples])
    if gaps.size:
        assert f["gaps"]["percentiles"]["50"] == pytest.approx(np.percentile(gaps, 50), abs=1e-4)


@pytest.mark.parametrize("mode", ["core", "ensemble", "bls"])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("streamed", [True, False])
def test_every_target_answers_with_the_tokens_asked_for(
    mode: str,
    protocol: str,
    streamed: bool,
    replay_server: LiveServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Prompts of 20 tokens, answers of 8, eight at a time; the server's counts are the tokenizer's."""
    url = replay_server.grpc if protocol == "grpc" else replay_server.http
    lengths = ["--input-mean", "20", "--output-mean", "8"]
    stream = "--stream" if streamed else "--no-stream"
    options = ["-i", protocol, "-c", "8", "--num-requests", "24", stream, "token-norm-dist", *lengths]
    result = bench(mode, url, tmp_path / "r.json", *options)
    check_consistency(result)
    assert [(s["input_tokens"], s["output_tokens"], s["finish_reason"]) for s in result["samples"]] == [
        (20, 8, "length")
    ] * 24
    assert result["figures"]["in_flight"]["most"] == 8
    if not streamed:
        assert all(len(s["times"]) == 1 for s in result["samples"])
    assert "all 24 counts are the tokenizer's" in capfd.readouterr().out


def test_a_real_engine_generates_the_tokens_asked_for(openvino_server: LiveServer, tmp_path: Path) -> None:
    """End ids do not shorten an answer: lengths are the workload's, whatever the model says."""
    options = ["-c", "4", "--num-requests", "8", "token-norm-dist", "--input-mean", "12", "--output-mean", "6"]
    result = bench("bls", openvino_server.grpc, tmp_path / "r.json", *options)
    check_consistency(result)
    assert [(s["input_tokens"], s["output_tokens"]) for s in result["samples"]] == [(12, 6)] * 8


def test_stock_s_command_prints_stock_s_table(replay_server: LiveServer, capfd: pytest.CaptureFixture[str]) -> None:
    """All at once, its ten figures, and the sum of latencies under its own name."""
    line = "--num-requests 40 --max-input-len 64 -i grpc token-norm-dist --input-mean 16 --input-stdev 0"
    options = [*line.split(), "--output-mean", "16", "--output-stdev", "0"]
    assert main(["bench", "core", "-u", replay_server.grpc, *options]) == 0
    said = capfd.readouterr().out
    assert "[INFO] Warm up for benchmarking.\n[INFO] Start benchmarking on 40 prompts" in said
    assert "| Avg. IP tokens per request |  16.00 " in said.replace("   16.00", "  16.00")
    assert "|   Avg. InFlight requests   |" in said
    assert "Sum of request latencies" in said
    assert "Total request latencies" not in said


def test_stock_s_further_arguments(
    replay_server: LiveServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whole answers through a stream, a line for each request, a trace, a table as CSV, a comparison that fails."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ref.json").write_text(json.dumps({"near": {"Total requests": 6}, "far": {"Total requests": 900}}))
    before = (
        "-v -i grpc --decoupled -t 60 --tensorrt-llm-model-name tensorrt_llm --tensorrt-llm-model-name tensorrt_llm"
    )
    more = "--dump-perfetto-trace --op-stats-csv out.csv --num-requests 6 --check-perf-json ref.json --check-perf-key"
    load = "token-norm-dist --input-mean 16 --input-stdev 0 --output-mean 8 --output-stdev 0"
    codes = [
        main(["bench", "core", "-u", replay_server.grpc, *f"{before} {more} {key} {load}".split()])
        for key in ("near", "far")
    ]
    said = capfd.readouterr().out
    assert codes == [0, 1]
    assert "[ERROR] --check-perf-key far: Total requests is 6.00 where the reference is 900.00" in said
    assert len(re.findall(r"\[VERBOSE\] request \d: sent at .* 16 tokens in, 8 out, length", said)) == 12
    assert [event["args"] for event in json.loads(Path("perfetto.json").read_text())] == [{"isl": 16, "osl": 8}] * 6
    header, *rows = list(csv.reader(Path("out.csv").read_text().splitlines()))
    assert (header[:2], [row[9] for row in rows]) == (["Requests/Sec", "OP tokens/sec"], ["6.00", "6.00"])


def test_decoupled_over_http_is_refused_as_in_stock(
    replay_server: LiveServer, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["-i", "http", "--decoupled", "fixed-prompt", "--prompt", "x"]
    assert main(["bench", "core", "-u", replay_server.http, *options]) == 2
    assert "--decoupled: asks through a gRPC stream; give -i grpc too" in capfd.readouterr().err


def test_a_server_of_a_deployment_is_started_for_the_run(
    qwen25_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """And the duration ends it."""
    (tmp_path / "d.yaml").write_text(f"model: {qwen25_folder}\nengine: {{kind: replay, step_ms: 2.0}}\n")
    options = ["--duration", "0.5", "-c", "2", "fixed-prompt", "--prompt", "你好", "--output-len", "5", "--explain"]
    assert main(["bench", "ensemble", "--deployment", str(tmp_path / "d.yaml"), *options]) == 0
    said = capfd.readouterr().out
    assert "prompts for 0.5 s, 2 at a time" in said
    assert "整个测试从第一个请求到最后一个回答的耗时" in said


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["core", "-u", "127.0.0.1:1"], "no Triton server answers gRPC at 127.0.0.1:1; start one, or give --url"),
        (["core", "-i", "http", "-u", "127.0.0.1:1"], "no Triton server answers HTTP at 127.0.0.1:1"),
        (["bls", "-u", "nonsense"], "--url: expected HOST:PORT, got 'nonsense'"),
        (["openai", "-u", "127.0.0.1:1"], "no OpenAI-compatible server answers at http://127.0.0.1:1"),
        (["bls", "-u", "GRPC", "--model", "nobody"], "nobody"),
        (["bls", "-u", "GRPC", "--model", "tensorrt_llm"], "tensorrt_llm is not a tensorrt_llm_bls model"),
    ],
)
def test_what_is_not_there_is_one_line(
    options: list[str], reason: str, replay_server: LiveServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """No server, a wrong address, an unknown model, a model of another kind: said once, without a stack trace."""
    words = [replay_server.grpc if word == "GRPC" else word for word in options]
    assert main(["bench", *words, "fixed-prompt", "--prompt", "x"]) == 2
    said = capfd.readouterr().err.strip()
    assert reason in said
    assert said.count("\n") == 0
