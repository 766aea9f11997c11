"""Progress of a launch on the terminal: an engine's stages are phases, and what is left of them is shown at the end."""

from __future__ import annotations

import re

import pytest

from qwen_triton_build.commands.console import ConsoleProgress, Phases
from qwen_triton_build.launch.engine_progress import LoadFact, Stage


def test_stages_are_phases_and_the_wait_says_how_far_they_are(capfd: pytest.CaptureFixture[str]) -> None:
    news = iter(
        [
            [Stage("loading weights"), Stage("loading weights", 50)],
            [],
            [LoadFact("KV cache: 9 tokens"), Stage("compiling")],
        ]
    )
    phases = Phases()
    progress = ConsoleProgress(phases, lambda: "the log's last line", lambda: next(news))
    progress.waiting(["tritonserver"], 1.0)
    progress.waiting(["tritonserver"], 10.0)
    progress.catch_up()
    phases.end()
    said = re.sub(r" +\d+\.\d s$", "", capfd.readouterr().err, flags=re.MULTILINE).splitlines()
    assert said == [
        "loading weights",
        "qwen-triton: waiting for tritonserver (10 s) loading weights, 50 %",
        "qwen-triton: KV cache: 9 tokens",
        "compiling",
    ]


def test_an_engine_that_says_nothing_leaves_the_log_s_last_line(capfd: pytest.CaptureFixture[str]) -> None:
    progress = ConsoleProgress(Phases(), lambda: "the log's last line")
    progress.waiting(["tritonserver"], 10.0)
    assert capfd.readouterr().err == "qwen-triton: waiting for tritonserver (10 s) the log's last line\n"
