"""`qwen-triton bench agents` on real servers: agents and their neighbour are answered through every way in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen_triton_build.cli import main

pytestmark = pytest.mark.live


def test_agents_and_their_neighbour_are_measured(qwen25_folder: Path, tmp_path: Path) -> None:
    """Two agents of three turns each; no figure is judged but the number of tokens that the server counted."""
    lengths = ["--history", "6000", "--new", "2000", "--turns", "3", "--output-len", "4", "--questions", "5"]
    file = tmp_path / "agents.json"
    options = ["--model", str(qwen25_folder), "--via", "bls,ensemble,openai", "--agents", "2", "--pause", "0"]
    assert main(["bench", "agents", *options, *lengths, "--json", str(file)]) == 0
    rows = json.loads(file.read_text())["rows"]
    assert [(row["via"], row["agents"], row["errors"]) for row in rows] == [
        (via, agents, 0) for via in ("bls", "ensemble", "openai") for agents in (0, 2)
    ]
    for row in rows[1::2]:
        assert row["prompt_tokens"] == pytest.approx(9000, rel=0.2)
        assert min(row["first_turn_p50"], row["next_p50"], row["neighbour_p50"]) > 0
