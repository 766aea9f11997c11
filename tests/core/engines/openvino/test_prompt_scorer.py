"""PromptScorer on the demo checkpoint: the log likelihoods that transformers computes in f32."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qwen_triton.checkpoint.json_file import read_json_object
from qwen_triton.engines.openvino.convert import convert_cached
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.engines.openvino.profiles import cpu_capabilities, plugin_properties
from qwen_triton.engines.openvino.prompt_scorer import PART_TOKENS, PromptScorer
from qwen_triton.text.tokenizer import Tokenizer
from qwen_triton.types import PromptLogProbs
from tests.support.folders import DATA, ROOT

CHECKPOINT = ROOT / "demo" / "checkpoint"
ROWS = json.loads((DATA / "demo_choices.json").read_text())["rows"][::9]
"""Made by `python -m tests.tools.make_demo_choices`; all of them are asked in tests/live/openai/test_lm_eval.py."""


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> PromptScorer:
    folder = convert_cached(CHECKPOINT, "stored", tmp_path_factory.mktemp("conversions"))
    properties = plugin_properties(OpenVinoOptions(str(CHECKPOINT)), cpu_capabilities())
    vocabulary = read_json_object(CHECKPOINT / "config.json", "")["vocab_size"]
    return PromptScorer(Path(folder) / "openvino_model.xml", properties, vocabulary)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_folder(CHECKPOINT)


def finish(scorer: PromptScorer) -> list[tuple[int, PromptLogProbs]]:
    found = []
    while scorer.busy:
        if (one := scorer.step()) is not None:
            found.append(one)
    return found


def test_log_likelihoods_equal_transformers(scorer: PromptScorer, tokenizer: Tokenizer) -> None:
    """Of each choice, and whether the likeliest tokens are its own; prompt after prompt in one scorer."""
    for row in ROWS:
        query = tokenizer.encode(row["query"].rstrip(), control_tokens=True)
        before = len(query)
        both = [tokenizer.encode(row["query"] + choice, control_tokens=True) for choice in row["choices"]]
        prompts = [[*query, *ids[before:]] for ids in both]
        for key, ids in enumerate(prompts):
            scorer.add(key, ids, 1)
        for (key, found), ids in zip(finish(scorer), prompts, strict=True):
            assert len(found.log_probs) == len(ids) - 1
            assert sum(found.log_probs[before - 1 :]) == pytest.approx(row["log_probs"][key], abs=1e-3)
            likeliest = [top[0][0] for top in found.top_log_probs[before - 1 :]]
            assert (likeliest == ids[before:]) is row["greedy"][key]


@pytest.mark.parametrize("length", [1, 2, PART_TOKENS, PART_TOKENS + 1, PART_TOKENS + 2, 3 * PART_TOKENS])
def test_a_prompt_is_computed_in_parts(scorer: PromptScorer, length: int) -> None:
    """As many calls as there are parts of all tokens but the last; what is known of a longer prompt's beginning is the same."""
    ids = [5 + n % 300 for n in range(3 * PART_TOKENS)]
    scorer.add(1, ids, 2)
    [(_, whole)] = finish(scorer)
    scorer.add(2, ids[:length], 2)
    calls = 0
    while scorer.busy:
        found = scorer.step()
        calls += 1
    assert found is not None
    assert calls == max(1, -(-(length - 1) // PART_TOKENS))
    assert found[1].log_probs == pytest.approx(whole.log_probs[: length - 1], abs=1e-4)
    assert [len(top) for top in found[1].top_log_probs] == [2] * (length - 1)


def test_a_prompt_that_is_dropped_leaves_nothing_behind(scorer: PromptScorer) -> None:
    """The one that is computed, one that waits, one that is not there."""
    ids = [5 + n % 300 for n in range(2 * PART_TOKENS)]
    scorer.add(1, ids, 0)
    [(_, expected)] = finish(scorer)
    for key in (2, 3, 4):
        scorer.add(key, ids, 0)
    assert scorer.step() is None
    for key in (2, 4, 9):
        scorer.cancel(key)
    [(key, found)] = finish(scorer)
    assert key == 3
    assert found.log_probs == pytest.approx(expected.log_probs, abs=1e-5)
