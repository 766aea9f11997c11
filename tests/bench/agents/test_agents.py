"""`bench agents` without a server: conversations that grow, figures of answers, refused options."""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton_bench.agents.asking import Answered, TargetAddress
from qwen_triton_bench.agents.conversation import AgentPlan, SourceText, conversation
from qwen_triton_bench.agents.loads import AgentsLoad
from qwen_triton_bench.agents.table import AgentFigures, encode_rows, header, line
from qwen_triton_bench.command import add_arguments, run

PLAN = AgentPlan(history=9000, new=1000, answer=8, turns=3)


def test_each_turn_has_the_whole_history_and_as_much_new(qwen3: Tokenizer) -> None:
    """As messages and as text; a turn adds an answer and what a tool gave. Lengths are right within a fifth."""
    turns = list(conversation(PLAN, SourceText(qwen3, 1, 4), "a"))
    lengths = [len(qwen3.encode(turn.text or "", control_tokens=True)) for turn in turns]
    assert lengths == pytest.approx([9000, 10_000, 11_000], rel=0.2)
    for before, after in pairwise(turns):
        assert before.text is not None
        assert before.messages is not None
        assert (after.text or "").startswith(before.text.removesuffix("<|im_start|>assistant\n"))
        assert (after.messages or ())[: len(before.messages)] == before.messages
        assert [m["role"] for m in (after.messages or ())[len(before.messages) :]] == ["assistant", "user"]
    assert turns[0].text is not None
    assert turns[0].text.count("<|im_start|>") == len(turns[0].messages or ()) + 1


def test_agents_share_no_message(qwen3: Tokenizer) -> None:
    """So that none finds what another had tokenized."""
    first, second = (next(conversation(PLAN, SourceText(qwen3, 0, 2), str(n))).messages for n in range(2))
    assert not {m["content"] for m in first or ()} & {m["content"] for m in second or ()}


def test_figures_are_those_of_the_answers_without_an_error() -> None:
    """Medians in ms; first turns and later ones apart; the neighbour as a multiple of its median alone."""
    alone = AgentFigures("bls", [Answered(0.004, 20)] * 9)
    agents = [[Answered(0.1, 80_000), Answered(0.02, 84_000), Answered(0.03, 88_000)], [Answered(0.2, 80_000)]]
    beside = AgentFigures("bls", [Answered(0.006, 20)] * 8 + [Answered(9.0, 0, "lost")], agents)
    found = encode_rows([alone, beside])
    assert found[0]["times_alone"] == 1.0
    assert found[1] == pytest.approx(
        {
            "via": "bls", "agents": 2, "prompt_tokens": 86_000, "first_turn_p50": 150.0, "next_p50": 25.0,
            "next_p95": 29.5, "neighbour_p50": 6.0, "neighbour_p99": 6.0, "times_alone": 1.5, "errors": 1,
        }
    )  # fmt: skip
    assert beside.errors == {"lost": 1}
    assert len(line(alone, 4.0)) == len(line(beside, 4.0)) == len(header())
    assert line(beside, 4.0).split()[2:6] == ["86,000", "150.0", "25.0", "29.5"]


def test_a_load_goes_to_its_process_as_json() -> None:
    load = AgentsLoad(TargetAddress("openai", "http://localhost:1"), Path("/model"), PLAN, 8, 0.5)
    assert AgentsLoad.decode(load.encode()) == load


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--via", "core"], "--via: expected some of bls, ensemble, openai, got 'core'"),
        (["--agents", "1,x"], "--agents: expected whole numbers with commas, got '1,x'"),
        (["--agents", "0"], "--agents: must be 1 or more, got 0"),
        (["--turns", "1"], "--turns: must be 2 or more"),
        (["--pause", "-1"], "--pause: must be 0 or more"),
        (["--model", "/nowhere"], "--model /nowhere: has no tokenizer; give a Qwen checkpoint's folder"),
    ],
)
def test_options_are_checked_before_a_server_starts(options: list[str], says: str) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    with pytest.raises(ConfigurationError, match=says):
        run(parser.parse_args(["agents", *options]))
