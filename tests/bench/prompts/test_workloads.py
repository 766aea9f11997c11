"""Prompts, lengths and arrival times of the benchmark; what cannot be is refused with the option's name."""

from __future__ import annotations

import argparse
import json
import random
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton_bench.command import add_arguments
from qwen_triton_bench.plan import make_plan
from qwen_triton_bench.prompts.dataset import Entry, read_dataset
from qwen_triton_bench.prompts.lengths import LengthHistogram, NormalLengths, read_histograms
from qwen_triton_bench.prompts.prompt_text import PromptText
from qwen_triton_bench.prompts.tokenizer import Encode, folder_tokenizer, in_batches
from qwen_triton_bench.run.arrivals import Open, constant_rate, poisson_rate, read_trace
from qwen_triton_bench.targets.target import error_kind

BLOG = (
    "core --num-requests 500 --max-input-len 1024 -i grpc token-norm-dist "
    "--input-mean 256 --input-stdev 0 --output-mean 256 --output-stdev 0"
)


def parse(line: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(line.split())


@pytest.fixture(scope="module")
def encode(qwen25_folder: Path) -> Encode:
    return folder_tokenizer(qwen25_folder)


def test_the_commands_of_stock_s_benchmark_are_taken_as_they_are(encode: Encode) -> None:
    """500 prompts of 256 ids, 256 to generate, all at once."""
    arguments = parse(BLOG)
    plan = make_plan(arguments, encode, as_ids=True)
    prompts = [c[0] for c in plan.conversations]
    assert [(len(p.token_ids or ()), p.output_tokens) for p in prompts] == [(256, 256)] * 500
    assert isinstance(plan.arrivals, Open)
    assert list(islice(plan.arrivals.offsets, 3)) == [0.0, 0.0, 0.0]
    assert (arguments.protocol, arguments.model) == ("grpc", "tensorrt_llm")


def test_options_stand_before_the_workload_or_behind_it() -> None:
    """What was given before is not undone behind."""
    arguments = parse("bls -c 7 --seed 3 fixed-prompt --prompt hi --seed 4")
    assert (arguments.concurrency, arguments.seed, arguments.num_requests) == (7, 4, None)


def test_texts_have_exactly_the_tokens_asked_for(encode: Encode, qwen25: Tokenizer) -> None:
    """For every length, as this project's own tokenizer counts."""
    counts = [*range(1, 200), 1024, 4000]
    texts = PromptText(encode, 0).texts(counts)
    assert [len(qwen25.encode(t)) for t in texts] == counts
    assert len(set(texts)) == len(texts)


def test_a_seed_makes_the_same_prompts(encode: Encode) -> None:
    """And another one makes others."""
    first, again, other = (make_plan(parse(f"{BLOG} --seed {s}"), encode, as_ids=True) for s in (1, 1, 2))
    assert first.conversations == again.conversations != other.conversations


def test_a_tokenizer_that_joins_digits_is_refused_in_one_line() -> None:
    """No text comes out exactly where everything is one token or none."""
    with pytest.raises(ConfigurationError, match="no text of exactly 5 tokens"):
        PromptText(lambda texts: [[1] for _ in texts], 0).texts([5])


def test_normal_lengths_have_the_mean_and_deviation_and_stay_inside() -> None:
    """Drawn again when outside, so nothing piles up at the borders."""
    chance = random.Random(1)
    drawn = np.array([NormalLengths(128, 10, 1024, "input").draw(chance) for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(128, abs=0.5)
    assert drawn.std() == pytest.approx(10, rel=0.03)
    narrow = [NormalLengths(5, 50, 10, "input").draw(chance) for _ in range(2000)]
    assert (min(narrow), max(narrow)) == (1, 10)
    assert max(narrow.count(n) for n in range(1, 11)) < 350


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("core token-norm-dist --input-mean 2000 --output-mean 5 --max-input-len 1024", "--input-mean: no lengths"),
        ("core token-norm-dist --input-mean 0 --output-mean 5", "--input-mean: no lengths around 0"),
        ("core token-norm-dist --input-mean 9 --output-mean 5 --output-stdev -1", "--output-stdev: must be 0 or more"),
        ("core -c 0 token-norm-dist --input-mean 9 --output-mean 5", "--concurrency: must be 1 or more"),
        (
            "core -c 0 --request-rate 3 token-norm-dist --input-mean 9 --output-mean 5",
            "--concurrency: must be 1 or more",
        ),
        ("core --trace TRACE --request-rate 3 token-norm-dist --input-mean 9 --output-mean 5", "give one"),
        ("core --request-rate 0 token-norm-dist --input-mean 9 --output-mean 5", "--request-rate: must be above 0"),
        ("core --duration 3 token-norm-dist --input-mean 9 --output-mean 5", "--duration needs"),
        ("core --num-requests 0 token-norm-dist --input-mean 9 --output-mean 5", "--num-requests: must be 1"),
        ("core token-from-histogram --histogram-key nobody", "--histogram-key nobody: unknown; there is example"),
        ("core dataset --dataset /no/such.json", "--dataset /no/such.json: cannot be read"),
        ("core shared-prefix --turns 0", "turns must be 1 or more"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_option(
    line: str, reason: str, encode: Encode, tmp_path: Path
) -> None:
    """No stack trace, no run with other numbers than asked for."""
    (tmp_path / "trace").write_text("0\n1\n")
    with pytest.raises(ConfigurationError, match=reason) as error:
        make_plan(parse(line.replace("TRACE", str(tmp_path / "trace"))), encode, as_ids=True)
    assert "\n" not in str(error.value)


def test_no_tokenizer_no_exact_lengths() -> None:
    """An OpenAI-compatible server counts for nobody in advance."""
    with pytest.raises(ConfigurationError, match="needs a tokenizer: give --tokenizer-dir"):
        make_plan(parse("openai token-norm-dist --input-mean 9 --output-mean 5"), None, as_ids=False)


def test_histograms_are_drawn_by_weight() -> None:
    """Half of all lengths from a bin of half the weight, each inside its bin."""
    histogram = LengthHistogram.read({"bins": [1, 11, 21, 31], "weights": [2, 1, 1]}, "x")
    chance = random.Random(2)
    drawn = np.array([histogram.draw(chance) for _ in range(20_000)])
    assert ((drawn >= 1) & (drawn < 31)).all()
    assert (drawn < 11).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"bins": [1, 2], "weights": [1, 1]}, "one more than weights"),
        ({"bins": [2, 1, 3], "weights": [1, 1]}, "must rise"),
        ({"bins": [1, 2], "weights": [-1]}, "not be negative"),
        ({"bins": [1, 2], "weights": [0]}, "not all zero"),
        ({"bins": "x"}, "expected"),
    ],
)
def test_impossible_histograms_are_refused(data: object, reason: str, tmp_path: Path) -> None:
    """With the file and the side at fault."""
    file = tmp_path / "h.json"
    file.write_text(json.dumps({"input": {"bins": [1, 2], "weights": [1]}, "output": data}))
    with pytest.raises(ConfigurationError, match=reason) as error:
        read_histograms(file, "example")
    assert "output" in str(error.value)


def test_conversations_share_their_beginning_and_grow(encode: Encode) -> None:
    """Every turn begins with the one before; conversations of one prefix begin alike; counts are the tokenizer's."""
    line = "bls --num-requests 4 shared-prefix --prefixes 2 --prefix-len 40 --turns 3 --turn-len 8 --output-len 5"
    conversations = make_plan(parse(line), encode, as_ids=False).conversations
    assert [len(c) for c in conversations] == [3] * 4
    for turns in conversations:
        texts = [t.text or "" for t in turns]
        assert texts[1].startswith(texts[0])
        assert texts[2].startswith(texts[1])
        assert [t.input_tokens for t in turns] == [len(i) for i in encode(texts)]
    heads = [(c[0].text or "")[:40] for c in conversations]
    assert heads[0] == heads[2] != heads[1] == heads[3]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.txt", "one\n\n two\n", [Entry("one", None), Entry(" two", None)]),
        ("a.json", '[{"prompt": "p"}, {"input": "i", "output": "o"}]', [Entry("p", None), Entry("i", "o")]),
        ("a.json", '[{"instruction": "do", "input": "i", "output": "o"}]', [Entry("i do", "o", of_stock=True)]),
        ("a.jsonl", '"x"\n{"prompt": "y"}\n', [Entry("x", None), Entry("y", None)]),
        ("odd.jsonl", '"x\u2028y"\r\n{"prompt": "a\x85b"}\n', [Entry("x\u2028y", None), Entry("a\x85b", None)]),
        ("odd.txt", "x\u2028y\nz\n", [Entry("x\u2028y", None), Entry("z", None)]),
        (
            "a.json",
            '[{"id": 1, "conversations": [{"from": "human", "value": "问"}, {"from": "gpt", "value": "答"}]},'
            ' {"conversations": []}]',
            [Entry("问", "答")],
        ),
    ],
)
def test_datasets_of_every_form(name: str, text: str, expected: list[Entry], tmp_path: Path) -> None:
    """ShareGPT, stock's input/output, JSON lines, lines of text; entries without a prompt of a person are passed over."""
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_dataset(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("a.json", "{", "is not JSON"),
        ("a.json", "{}", "expected"),
        ("a.json", '[{"question": "x"}]', "entry 1: has no prompt"),
        ("a.json", '["x", 5]', "entry 2: has no prompt"),
        ("a.json", '[{"conversations": [{"value": "x"}]}]', 'entry 1: turns need "from" and "value"'),
        ("a.txt", "\n", "holds no prompts"),
    ],
)
def test_datasets_of_no_form_are_one_line(name: str, text: str, reason: str, tmp_path: Path) -> None:
    """The entry is named."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        read_dataset(tmp_path / name)


def test_a_dataset_s_answers_give_the_lengths(encode: Encode, tmp_path: Path) -> None:
    """As many tokens as the answer has; 128 where there is none; all alike when the command says so."""
    (tmp_path / "a.json").write_text('[{"input": "hello you", "output": "one two three"}, "hello"]')
    line = f"core dataset --dataset {tmp_path / 'a.json'}"
    found = [c[0] for c in make_plan(parse(line), encode, as_ids=True).conversations]
    assert [(p.input_tokens, p.output_tokens) for p in found] == [(2, 3), (1, 128)]
    told = make_plan(parse(f"{line} --output-len 9"), encode, as_ids=True).conversations
    assert [c[0].output_tokens for c in told] == [9, 9]


def test_too_long_prompts_are_left_out_and_counted(encode: Encode, tmp_path: Path) -> None:
    """And none left is an error."""
    (tmp_path / "a.txt").write_text("hello\nhello hello hello\n")
    line = f"core dataset --dataset {tmp_path / 'a.txt'} --max-input-len"
    plan = make_plan(parse(f"{line} 2"), encode, as_ids=True)
    assert (len(plan.conversations), plan.dropped) == (1, 1)
    with pytest.raises(ConfigurationError, match="every prompt is longer"):
        make_plan(parse(f"{line} 0"), encode, as_ids=True)


def test_constant_arrivals_are_even_and_poisson_ones_exponential() -> None:
    """Four a second: 0.25 s apart; 50 a second: a mean of 0.02 s with as much deviation, none negative."""
    assert list(islice(constant_rate(4).offsets, 4)) == [0.0, 0.25, 0.5, 0.75]
    gaps = np.diff(list(islice(poisson_rate(50, seed=1).offsets, 20_000)))
    assert gaps.mean() == pytest.approx(0.02, rel=0.03)
    assert gaps.std() == pytest.approx(0.02, rel=0.05)
    assert gaps.min() >= 0


def test_a_trace_begins_at_its_first_timestamp(tmp_path: Path) -> None:
    """Seconds, or the milliseconds of JSON lines."""
    (tmp_path / "t").write_text("10.5\n11\n\n12.25\n")
    assert read_trace(tmp_path / "t") == [0.0, 0.5, 1.75]
    (tmp_path / "t").write_text('{"timestamp": 1000, "x": 1}\n{"timestamp": 1500}\n')
    assert read_trace(tmp_path / "t") == [0.0, 0.5]


@pytest.mark.parametrize(
    ("text", "reason"), [("1\nx\n", "line 2"), ("2\n1\n", "must not go back"), ("", "no timestamps"), ("{}", "line 1")]
)
def test_a_wrong_trace_is_one_line(text: str, reason: str, tmp_path: Path) -> None:
    """The line at fault is named."""
    (tmp_path / "t").write_text(text)
    with pytest.raises(ConfigurationError, match=reason):
        read_trace(tmp_path / "t")


def test_batches_hold_no_more_than_the_server_s_rows(encode: Encode) -> None:
    """And come back in order."""
    seen: list[int] = []

    def server(texts: object) -> list[list[int]]:
        batch = list(texts)  # type: ignore[call-overload]
        seen.append(len(batch))
        return encode(batch)

    texts = [f"word {n}" for n in range(7)]
    assert in_batches(server, 3)(texts) == encode(texts)
    assert seen == [3, 3, 1]


def test_errors_of_one_kind_have_one_name() -> None:
    """Numbers and request ids differ from request to request; a long message is cut."""
    assert error_kind("500 requests are\nin flight") == error_kind("37 requests are in flight")
    assert error_kind("request 0af3bb1290cd failed") == error_kind("request ffee12345678 failed")
    assert len(error_kind("x" * 500, "HTTP 400")) < 140
