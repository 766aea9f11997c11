"""Arguments of stock's benchmark_core_model.py (v0.14.0 and later) and of its first versions: taken with their meaning, or
refused by name with the reason."""

from __future__ import annotations

import argparse
import json
from itertools import islice
from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_bench.command import add_arguments
from qwen_triton_bench.plan import Plan, make_plan
from qwen_triton_bench.prompts.tokenizer import Encode, folder_tokenizer
from qwen_triton_bench.run.arrivals import Open

NORMAL = "token-norm-dist --input-mean 4 --input-stdev 0 --output-mean 5 --output-stdev 0"
TAKEN = {
    "-v": ("verbose", True),
    "--verbose": ("verbose", True),
    "-u localhost:1": ("url", "localhost:1"),
    "--url localhost:1": ("url", "localhost:1"),
    "-i http": ("protocol", "http"),
    "--protocol grpc": ("protocol", "grpc"),
    "--decoupled": ("decoupled", True),
    "-t 9.5": ("stream_timeout", 9.5),
    "--stream-timeout 9": ("stream_timeout", 9.0),
    "--tensorrt-llm-model-name other": ("model", ["other"]),
    "--tensorrt-llm-model-name a --tensorrt-llm-model-name b": ("model", ["a", "b"]),
    "-c 128": ("concurrency", 128),
    "--concurrency 128": ("concurrency", 128),
    "--max-input-len 300": ("max_input_len", 300),
    "--request-rate 2.5": ("request_rate", 2.5),
    "--request-rate -1": ("request_rate", -1.0),
    "--time-delay-dist constant": ("time_delay_dist", "constant"),
    "--dump-perfetto-trace": ("dump_perfetto_trace", True),
    "--op-stats-csv out.csv": ("op_stats_csv", Path("out.csv")),
    "--exclude-input-in-output": ("exclude_input_in_output", True),
    "--num-requests 30000": ("num_requests", 30000),
    "--check-perf-json ref.json": ("check_perf_json", Path("ref.json")),
    "--check-perf-key a100": ("check_perf_key", "a100"),
    "--check-perf-atol 5": ("check_perf_atol", 5.0),
    "--check-perf-rtol 0.5": ("check_perf_rtol", 0.5),
    "--max_input_len 300": ("max_input_len", 300),
    "--tokenizer_dir here": ("tokenizer_dir", Path("here")),
    "--op_stats_csv out.csv": ("op_stats_csv", Path("out.csv")),
    "--exclude_input_in_output": ("exclude_input_in_output", True),
    "--dump_perfetto_trace": ("dump_perfetto_trace", True),
}


def parse(line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(line.split())


@pytest.fixture(scope="module")
def encode(qwen25_folder: Path) -> Encode:
    return folder_tokenizer(qwen25_folder)


@pytest.mark.parametrize("given", TAKEN)
@pytest.mark.parametrize("form", ["core {} {}", "core {1} {0}"], ids=["before the workload", "behind it"])
def test_an_argument_of_stock_is_taken(form: str, given: str) -> None:
    name, value = TAKEN[given]
    assert getattr(parse(form.format(given, NORMAL)), name) == value


def test_without_them_defaults_hold() -> None:
    """Stock's, but for the protocol (stock: http), the number of requests (30000) and the concurrency (none here)."""
    given = parse(f"core {NORMAL}")
    assert (given.model, given.protocol, given.num_requests, given.concurrency) == ("tensorrt_llm", "grpc", None, None)
    assert (given.check_perf_atol, given.check_perf_rtol, given.time_delay_dist) == (50.0, 0.05, "exponential_dist")
    assert (given.decoupled, given.stream_timeout, given.verbose, given.request_rate) == (False, None, False, -1.0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"core --test-llmapi {NORMAL}", "--test-llmapi: not taken: it sends texts to an LLM API model"),
        (f"core {NORMAL} --time_bet_reqs 0.5", "--time_bet_reqs: not taken: give the rate, --request-rate R"),
        (f"core {NORMAL} --time-bet-reqs 0.5", "--time-bet-reqs: not taken: give the rate, --request-rate R"),
        ("core dataset --dataset x --tokenizer-type t5", "argument --tokenizer-type: only auto"),
        ("core dataset --dataset x --tokenizer_type llama", "only auto: DIR/tokenizer.json says what it is"),
    ],
)
def test_what_means_nothing_here_is_refused_with_the_reason(
    line: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(line)
    assert ended.value.code == 2
    assert reason in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"core -t 0 {NORMAL}", "--stream-timeout: must be above 0, got 0"),
        ("core dataset --dataset DATA --op-tokens-per-word 0", "--op-tokens-per-word: must be above 0, got 0"),
    ],
)
def test_values_that_cannot_be_are_refused(line: str, reason: str, encode: Encode, dataset: Path) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        make_plan(parse(line.replace("DATA", str(dataset))), encode, as_ids=True)
    assert str(refusal.value) == reason


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Stock's form: what its `dataset` workload reads."""
    entries = [
        {"input": "Once upon a time", "instruction": "Go on.", "output": "there was a fox"},
        {"input": "", "instruction": "Say hi.", "output": ""},
        {"input": "long " * 50, "instruction": "Shorten.", "output": "long"},
        {"input": "a", "instruction": "b", "output": "one two  three four five six seven eight nine ten"},
    ]
    (tmp_path / "mini.json").write_text(json.dumps(entries))
    return tmp_path / "mini.json"


def planned(line: str, dataset: Path, encode: Encode) -> Plan:
    return make_plan(parse(line.replace("DATA", str(dataset))), encode, as_ids=True)


def test_a_dataset_makes_stocks_prompts(dataset: Path, encode: Encode) -> None:
    """`input`, a blank, `instruction`; 1.3 tokens for each word between blanks; what is too long is left out."""
    plan = planned("core --max-input-len 40 dataset --dataset DATA", dataset, encode)
    prompts = [(p.token_ids, p.output_tokens) for (p,) in plan.conversations]
    texts = ["Once upon a time Go on.", " Say hi.", "a b"]
    assert [ids for ids, _ in prompts] == [tuple(encode([text])[0]) for text in texts]
    assert [length for _, length in prompts] == [int(4 * 1.3), int(1 * 1.3), int(11 * 1.3)]
    assert plan.dropped == 1


@pytest.mark.parametrize(
    ("options", "lengths"),
    [("--op-tokens-per-word 2", [8, 2, 22]), ("--op_tokens_per_word 0.5", [2, 1, 5]), ("--output-len 7", [7, 7, 7])],
)
def test_lengths_of_answers_can_be_set(options: str, lengths: list[int], dataset: Path, encode: Encode) -> None:
    plan = planned(f"core --max-input-len 40 dataset --dataset DATA {options}", dataset, encode)
    assert [p.output_tokens for (p,) in plan.conversations] == lengths


@pytest.mark.parametrize(("asked", "sent"), [("", 3), ("--num-requests 2", 2), ("--num-requests 30000", 3)])
def test_a_dataset_is_sent_once_at_most(asked: str, sent: int, dataset: Path, encode: Encode) -> None:
    """Stock: min(dataset, num_requests), of the prompts that are not too long."""
    plan = planned(f"core --max-input-len 40 {asked} dataset --dataset DATA", dataset, encode)
    assert (len(plan.conversations), plan.bounds.conversations) == (sent, sent)


def test_a_rate_and_a_concurrency_go_together(encode: Encode) -> None:
    """As stock's HTTP client has it: at the rate, with at most so many connections."""
    plan = make_plan(parse(f"core -c 3 --request-rate 50 --time-delay-dist constant {NORMAL}"), encode, as_ids=True)
    assert str(plan.arrivals) == "50 a second, evenly, at most 3 in flight"
    assert isinstance(plan.arrivals, Open)
    assert plan.arrivals.most == 3


def test_the_histogram_example_is_stocks(encode: Encode) -> None:
    plan = make_plan(parse("core --num-requests 400 token-from-histogram --histogram-key example"), encode, as_ids=True)
    prompts = [p for (p,) in plan.conversations]
    assert {151 <= len(p.token_ids or ()) <= 275 for p in prompts} == {True}
    assert {6 <= p.output_tokens <= 30 for p in prompts} == {True}
    assert min(p.output_tokens for p in prompts) < 11 < 26 <= max(p.output_tokens for p in prompts)


def test_stocks_readme_commands(dataset: Path, encode: Encode) -> None:
    """The two of its README: a data set, and a normal distribution at a rate."""
    line = "core -i grpc --request-rate 4 --time-delay-dist constant --max-input-len 300 --num-requests 60"
    plan = planned(f"{line} dataset --dataset DATA --tokenizer-dir x --tokenizer-type auto", dataset, encode)
    assert isinstance(plan.arrivals, Open)
    assert list(islice(plan.arrivals.offsets, 3)) == [0.0, 0.25, 0.5]
    line = "core -i grpc --request-rate -1 --max-input-len 300 --num-requests 6 token-norm-dist"
    plan = make_plan(
        parse(f"{line} --input-mean 128 --input-stdev 5 --output-mean 20 --output-stdev 2"), encode, as_ids=True
    )
    assert len(plan.conversations) == 6
