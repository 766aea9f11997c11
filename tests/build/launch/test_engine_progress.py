"""Stages and findings of a load, from the lines that vLLM prints."""

from __future__ import annotations

from pathlib import Path

import pytest

from qwen_triton_build.launch.engine_progress import EngineProgress, LoadFact, Stage, read_line
from tests.support.fake_vllm.startup import STEPS

CORE = "(EngineCore pid=7) INFO 11-29 12:00:00 [core.py:1] "


def test_a_whole_load_in_order(tmp_path: Path) -> None:
    """Read as it grows, whatever parts it comes in."""
    log, found = tmp_path / "log", []
    progress = EngineProgress(log)
    assert progress.news() == []
    text = "".join(STEPS)
    for n in range(0, len(text), 17):
        with log.open("a") as file:
            file.write(text[n : n + 17])
        found += progress.news()
    assert progress.news() == []
    seen = list(dict.fromkeys(found))
    assert seen == [
        Stage("starting vLLM's engine core"),
        Stage("loading weights"),
        Stage("loading weights", 50),
        Stage("loading weights", 100),
        LoadFact("weights: 27.53 GiB on a GPU"),
        Stage("preparing the model"),
        Stage("compiling"),
        Stage("measuring memory for the cache"),
        LoadFact("KV cache: 519,264 tokens"),
        Stage("capturing CUDA graphs", 36),
        Stage("capturing CUDA graphs", 100),
    ]
    assert [one for one in found if isinstance(one, LoadFact)] == [one for one in seen if isinstance(one, LoadFact)]


@pytest.mark.parametrize(
    ("line", "news"),
    [
        (
            "Model loading took 14.21 GiB and 3.100000 seconds",
            [LoadFact("weights: 14.21 GiB on a GPU"), "preparing the model"],
        ),
        ("Loading model from scratch...", ["loading weights"]),
        ("Loading pt checkpoint shards:  25% Completed | 1/4 [00:01<00:03]", [Stage("loading weights", 25)]),
        ("Loading safetensors checkpoint shards (eager):  25% Completed | 1/4", [Stage("loading weights", 25)]),
        ("Multi-thread loading shards:  75% Completed | 3/4 [00:01<00:00]", [Stage("loading weights", 75)]),
        ("Prefetching checkpoint files: 10% (1/10)", [Stage("loading weights", 10)]),
        ("Using cache directory: /c for vLLM's torch.compile", ["compiling"]),
        ("Compiling a graph for compile range (1, 8192) takes 4.10 s", ["compiling"]),
        ("JIT kernel warmup starting.", ["warming up kernels"]),
        (
            "Capturing CUDA graphs (mixed prefill-decode, PIECEWISE):  50%|#####     | 1/2",
            [Stage("capturing CUDA graphs", 50)],
        ),
        (
            "GPU KV cache size: 519,264 tokens, Maximum concurrency for 8,192 tokens per request: 63.39x",
            [LoadFact("KV cache: 519,264 tokens"), LoadFact("KV cache: 63.39 sequences of 8,192 tokens at once")],
        ),
        (
            "Auto-fit max_model_len: reduced from 32768 to 25936 to fit in available GPU memory",
            [LoadFact("max_model_len is 25936, since 32768 do not fit")],
        ),
        ("Asynchronous scheduling is enabled.", []),
    ],
)
def test_lines_of_both_releases(line: str, news: list[object]) -> None:
    assert read_line(CORE + line) == [Stage(one) if isinstance(one, str) else one for one in news]


def test_a_log_on_the_terminal_has_no_news() -> None:
    assert EngineProgress(None).news() == []
