"""`bench overhead` without a server: names of processes, processor time, emission rates, refused options."""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_bench.command import add_arguments, run
from qwen_triton_bench.overhead.curve import curve_lines, setting_name
from qwen_triton_bench.overhead.floor import ratios
from qwen_triton_bench.overhead.measure import Cost, Work
from qwen_triton_bench.overhead.mock import check_files, mock_header, mock_row
from qwen_triton_bench.overhead.process_time import process_name, processor_seconds
from qwen_triton_bench.overhead.setup import EmissionRate
from qwen_triton_bench.overhead.table import ratio_lines
from qwen_triton_bench.run.samples import Run
from qwen_triton_bench.run.statistics import Spread, figures
from tests.support.folders import ROOT


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("/x/bin/tritonserver --model-repository=/r", "server"),
        ("/b/python/triton_python_backend_stub /r/tensorrt_llm_bls/1/model.py p 1 2", "tensorrt_llm_bls"),
        ("/b/python/triton_python_backend_stub /r/postprocessing/1/model.py p 1 2", "postprocessing"),
        ("python -m qwen_triton.engines.process.main --address a", "engine"),
        ("python -m qwen_triton_build.cli shim --port 1", "shim"),
        ("python -m qwen_triton_openai.processes.worker", "shim"),
        ("python -c pass", "other"),
    ],
)
def test_processes_of_the_server_have_names(command: str, name: str) -> None:
    """By their command lines."""
    assert process_name(command.split()) == name


def test_processor_time_counts_children_and_no_sleep() -> None:
    """A busy child is found through its parent; a process that has ended is no error. The system counts in steps of 10 ms."""
    busy = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    work = "import time\nwhile time.process_time() < 0.5: pass\ntime.sleep(60)"
    parent = subprocess.Popen([sys.executable, "-c", busy, work])
    try:
        deadline = time.monotonic() + 30
        while processor_seconds([parent.pid])["other"] < 0.4 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert 0.4 <= processor_seconds([parent.pid])["other"] < 5
    finally:
        for pid in processor_children(parent.pid):
            os.kill(pid, 9)
        parent.kill()
        parent.wait()
    assert not processor_seconds([parent.pid])


def processor_children(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children()]


def test_a_rate_is_shared_by_all_requests() -> None:
    """500 at 30,000 tokens/s: each steps every 16.7 ms; flat out has no step."""
    assert EmissionRate(30_000, 1).step_ms(500) == pytest.approx(16.667, abs=1e-3)
    assert EmissionRate(30_000, 4).step_ms(500) == pytest.approx(66.667, abs=1e-3)
    assert EmissionRate(None, 1).step_ms(500) == 0.0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--via nowhere", "--via: expected some of floor, core, ensemble, bls, openai, got 'nowhere'"),
        ("--concurrency 0", "--concurrency: must be 1 or more"),
        ("--concurrency a", "--concurrency: expected whole numbers"),
        ("--pace 0", "--pace: must be above 0"),
        ("--curve 0,5", "--curve: must be 1 or more"),
        ("--repository /no/where", "--repository: /no/where is not a folder"),
        ("--engine one-token", "--engine one-token: is reached by --via bls,openai only"),
        ("--model /no/where", "--model /no/where: has no tokenizer"),
        ("--flat-out --pace 1", "--flat-out: has no pace; leave out one of --flat-out and --pace"),
    ],
)
def test_what_cannot_be_measured_is_one_line(line: str, reason: str) -> None:
    """Before any server is started."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigurationError, match=reason):
        run(parser.parse_args(["overhead", *line.split()]))


def test_the_demo_s_tokenizer_is_looked_for_in_this_repository() -> None:
    """The default of --model."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["overhead"]).model == ROOT / "demo" / "checkpoint"


def test_connections_beyond_the_open_files_of_this_shell_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the remedy; gRPC has one connection for all requests."""
    limits = (1024, 4096)
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    with pytest.raises(
        ConfigurationError, match=r"needs 2176 open files.* allows 1024; run `ulimit -n 2176` before, or "
    ):
        check_files(["bls", "openai"], "grpc", [64, 2048])
    check_files(["openai"], "grpc", [896])
    check_files(["bls"], "grpc", [2048])
    with pytest.raises(ConfigurationError, match="at most --concurrency 896"):
        check_files(["bls"], "http", [897])
    limits = (1024, 1024)
    with pytest.raises(ConfigurationError, match=r"let an administrator raise the limit \(now 1024\), or give"):
        check_files(["openai"], "grpc", [2048])


def cost(via: str, seconds: float, gap: float, microseconds: float, concurrency: int = 8) -> Cost:
    """1,000 tokens in so many seconds; TTFT is the gap."""
    spread = replace(Spread.of(()), percentiles={50: gap, 99: gap})
    found = replace(
        figures(Run((), 0.0, seconds, 0.0, True)), output_tokens=1000, responses=500, gaps=spread, first_token=spread
    )
    return Cost("r", via, Work(concurrency, 1, 1, 1, "grpc"), 0.0, found, {"server": microseconds})


def test_ratios_are_to_the_floor_at_as_many_at_once() -> None:
    """The mean of rows that are alike; without a floor there are none."""
    rows = [
        cost("floor", 1.0, 0.1, 10),
        cost("bls", 2.0, 0.3, 15),
        cost("floor", 1.0, 0.3, 30),
        cost("bls", 2.0, 0.3, 25),
    ]
    others = [cost("bls", 1.0, 1.0, 1, 64)]
    (ratio,) = ratios([*rows, *others])
    assert ratio == {
        "repository": "r", "via": "bls", "concurrency": 8, "tokens_per_s": pytest.approx(0.5), "cpu": pytest.approx(1.0),
        "gap": pytest.approx(1.5), "ttft": pytest.approx(1.5),
    }  # fmt: skip
    assert ratio_lines([ratio])[-2].split() == ["r", "bls", "8", "0.50", "1.00", "1.50", "1.50"]
    assert ratios(others) == []
    assert ratio_lines([]) == []


def test_a_row_of_the_mock_form_has_seconds_for_a_million_tokens() -> None:
    row = mock_row(cost("openai", 2.0, 0.25, 12.5)).split()
    names = mock_header().replace("at once", "at_once").replace("TTFT p", "TTFT_p").replace("gap p", "gap_p")
    shown = dict(zip(names.replace("CPU s/M tok", "CPU").split(), row, strict=True))
    assert shown["tokens/s"] == "500"
    assert (shown["TTFT_p50"], shown["gap_p99"], shown["CPU"]) == ("250.0", "250.0", "12.5")
    assert (shown["tok/chunk"], shown["chunks/s"]) == ("2.00", "250")


CURVE = [(0.2, 40, 2000), (0.05, 60, 8000), (0.3, 50, 0)]
"""Gap in seconds, processor time of a token, setting."""


def test_the_curve_goes_from_the_shortest_gap_to_the_longest() -> None:
    rows = [replace(cost("bls", 2.0, gap, us), repository=setting_name(most)) for gap, us, most in CURVE]
    lines = curve_lines(rows)[3:]
    assert [line.split()[0] for line in lines] == ["8,000/s", "2,000/s", "by"]
    assert lines[0].split() == ["8,000/s", "bls", "8", "250", "2.00", "50.0", "50.0", "50.0", "500", "60.0"]


def test_the_former_name_is_an_alias() -> None:
    """`bench line` measures the same; only the help has it no more."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args(["line", "--rounds", "2"]) == parser.parse_args(["overhead", "--rounds", "2"])
    (modes,) = parser._subparsers._group_actions  # type: ignore[union-attr]  # argparse has no other way to list them
    shown = parser.format_help()
    assert "  overhead " in shown
    assert "  line " not in shown
    assert set(modes.choices or ()) == {"core", "ensemble", "bls", "openai", "overhead", "agents", "line"}
