"""Command lines of bench, tune and report: every `--help`, at every depth, is text and no traceback."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from qwen_triton_bench import command as bench
from qwen_triton_bench.options import MODES, WORKLOADS
from qwen_triton_bench.report import command as report
from qwen_triton_bench.tune import command as tune


def parser_of(name: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"qwen-triton {name}")
    {"bench": bench, "tune": tune, "report": report}[name].add_arguments(parser)
    return parser


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser and those of its subcommands, at any depth."""
    yield parser
    for action in parser._actions:  # argparse has no other way to list them
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


@pytest.mark.parametrize("name", ["bench", "tune", "report"])
def test_every_subcommand_has_help(name: str) -> None:
    """All of bench's modes and workloads among them."""
    found = [p.prog for p in parsers(parser_of(name)) if p.format_help().startswith(f"usage: {p.prog}")]
    assert len(found) == {"bench": 1 + len(MODES) * (1 + len(WORKLOADS)) + 3, "tune": 1, "report": 1}[name]


@pytest.mark.parametrize("workload", WORKLOADS)
@pytest.mark.parametrize("mode", MODES)
def test_help_of_a_workload_has_the_mode_s_options(
    mode: str, workload: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`bench MODE WORKLOAD --help` ends well and says the defaults that hold."""
    with pytest.raises(SystemExit) as ended:
        parser_of("bench").parse_args([mode, workload, "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert ("default chat" if mode == "openai" else f"default {MODES[mode][0]}") in text
    assert "(default 4096)" in text


@pytest.mark.parametrize("line", ["--seed 3 fixed-prompt --prompt x", "fixed-prompt --seed 3 --prompt x"])
def test_options_stand_before_the_workload_or_behind_it(line: str) -> None:
    """And what is not given has its default."""
    given = parser_of("bench").parse_args(["core", *line.split()])
    assert (given.seed, given.warmup, given.mode, given.workload) == (3, 4, "core", "fixed-prompt")
