"""Log probs of prompts and of the likeliest tokens on the CPU engine: those of transformers, in any company."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from qwen_triton.engines.openvino.engine import OpenVinoEngine
from qwen_triton.engines.openvino.options import OpenVinoOptions
from qwen_triton.engines.openvino.scoring import AT_ONCE
from qwen_triton.errors import InvalidRequest
from qwen_triton.types import EngineRequest, PromptLogProbs, SamplingParams, TokenChunk
from tests.support.checkpoints import long_prompt, prompts, write_checkpoint
from tests.support.folders import DATA

NAME = "qwen3-tied-bf16"
TABLE = json.loads((DATA / "openvino_greedy.json").read_text())["checkpoints"][NAME]
PROMPTS = prompts(96)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenVinoEngine]:
    folder = tmp_path_factory.mktemp("scoring")
    model = write_checkpoint(folder / NAME, NAME)
    loaded = OpenVinoEngine(OpenVinoOptions(str(model), conversion_cache=str(folder / "cache"), scoring=True))
    yield loaded
    loaded.close()


def ask(prompt: Sequence[int], ends: tuple[int, ...] = (), **sampling: Any) -> EngineRequest:
    return EngineRequest(tuple(prompt), SamplingParams(**{"max_tokens": 4, **sampling}), ends)


def run(engine: OpenVinoEngine, *requests: EngineRequest) -> list[list[TokenChunk]]:
    chunks: dict[int, list[TokenChunk]] = {key: [] for key in range(len(requests))}
    for key, request in enumerate(requests):
        engine.add(key, request)
    while engine.wait_s() is not None:
        for key, chunk in engine.step():
            assert not (chunks[key] and chunks[key][-1].finish)
            chunks[key].append(chunk)
    return list(chunks.values())


def tokens(chunks: list[TokenChunk]) -> list[int]:
    return [token for chunk in chunks for token in chunk.token_ids]


def test_an_answer_that_is_a_prompt_has_the_same_log_probs(engine: OpenVinoEngine) -> None:
    """Those that transformers has for its greedy answers, of which each token is the likeliest; alone and all at once."""
    rows = [(PROMPTS[row["prompt"]], row) for row in TABLE["greedy"][:8]]
    requests = [ask(prompt + row["ids"], prompt_logprobs=2) for prompt, row in rows]
    for answers in (run(engine, *requests), [run(engine, one)[0] for one in requests]):
        for (prompt, row), chunks in zip(rows, answers, strict=True):
            found, start = chunks[0].prompt, len(prompt) - 1
            assert found is not None
            assert len(found.log_probs) == len(found.top_log_probs) == start + len(row["ids"])
            assert found.log_probs[start:] == pytest.approx(row["log_probs"], abs=1e-3)
            assert [tops[0][0] for tops in found.top_log_probs[start:]] == row["ids"]
            assert all(len(tops) == 2 and tops[0][1] >= tops[1][1] for tops in found.top_log_probs)
            assert [chunk.prompt for chunk in chunks[1:]] == [None] * (len(chunks) - 1)


def test_a_long_prompt_is_scored_in_pieces(engine: OpenVinoEngine) -> None:
    row = TABLE["long"]
    prompt = long_prompt(row["prompt"])
    (chunks,) = run(engine, ask(prompt + row["ids"], prompt_logprobs=0))
    assert chunks[0].prompt is not None
    assert chunks[0].prompt.log_probs[len(prompt) - 1 :] == pytest.approx(row["log_probs"], abs=1e-3)
    assert chunks[0].prompt.top_log_probs == []


def test_the_likeliest_tokens_of_an_answer(engine: OpenVinoEngine) -> None:
    """Of a greedy one the chosen ones are first, with their own log probs; a sampled one has other tokens before them."""
    row = TABLE["greedy"][1]
    greedy, hot, plain = run(
        engine,
        ask(PROMPTS[row["prompt"]], logprobs=3, max_tokens=12),
        ask(PROMPTS[row["prompt"]], logprobs=3, max_tokens=12, temperature=2.0, seed=3),
        ask(PROMPTS[row["prompt"]], logprobs=0, max_tokens=12),
    )
    tops = [pairs for chunk in greedy for pairs in chunk.top_log_probs]
    assert tokens(greedy) == row["ids"][:12] == [pairs[0][0] for pairs in tops]
    assert [pairs[0][1] for pairs in tops] == pytest.approx(row["log_probs"][:12], abs=1e-3)
    assert [p for chunk in greedy for p in chunk.log_probs] == pytest.approx(row["log_probs"][:12], abs=1e-3)
    for token, log_prob, pairs in ((t, p, q) for c in hot for t, p, q in zip(*c[:3], strict=True)):
        assert len(pairs) == 3
        assert dict(pairs).get(token, log_prob) == pytest.approx(log_prob, abs=1e-3)
        assert log_prob <= pairs[0][1] + 1e-3
    assert all(chunk.top_log_probs == () for chunk in plain)


def test_a_stop_id_has_no_place_among_them(engine: OpenVinoEngine) -> None:
    row = TABLE["greedy"][1]
    end = row["ids"][5]
    (chunks,) = run(engine, ask(PROMPTS[row["prompt"]], (end,), logprobs=1, prompt_logprobs=0, max_tokens=12))
    kept = row["ids"].index(end)
    assert (tokens(chunks), chunks[-1].finish, chunks[-1].stop_token) == (row["ids"][:kept], "stop", end)
    assert sum(len(chunk.top_log_probs) for chunk in chunks) == kept


def test_a_prompt_of_one_token_has_none(engine: OpenVinoEngine) -> None:
    (chunks,) = run(engine, ask([5], prompt_logprobs=1))
    assert chunks[0].prompt == PromptLogProbs([], [])


def test_a_few_are_scored_at_once_and_others_do_not_wait_for_them(engine: OpenVinoEngine) -> None:
    for key in range(AT_ONCE + 2):
        engine.add(key, ask(PROMPTS[1], prompt_logprobs=0, max_tokens=300))
    engine.add(99, ask(PROMPTS[1]))
    engine.step()
    assert [key for key in range(AT_ONCE + 2) if engine.waits(key)] == [AT_ONCE, AT_ONCE + 1]
    assert not engine.waits(99)
    engine.cancel(0)
    engine.step()
    assert [key for key in range(AT_ONCE + 2) if engine.waits(key)] == [AT_ONCE + 1]
    for key in range(AT_ONCE + 2):
        engine.cancel(key)
    engine.cancel(99)
    while engine.wait_s() is not None:
        assert list(engine.step()) == []


@pytest.mark.parametrize(
    ("name", "asked"), [("prompt_logprobs", {"prompt_logprobs": 0}), ("top_logprobs", {"logprobs": 1})]
)
def test_a_beam_search_has_none(engine: OpenVinoEngine, name: str, asked: dict[str, int]) -> None:
    with pytest.raises(
        InvalidRequest, match=f"^{name}: beam search takes no notice of it; leave it out, or beam_width"
    ):
        engine.add(1, ask([5], beam_width=2, **asked))
    assert engine.wait_s() is None


def test_a_step_scores_no_more_tokens_than_it_computes(engine: OpenVinoEngine) -> None:
    """256 of all sequences together, so that long prompts do not hold up others."""
    for key in range(3):
        engine.add(key, ask(long_prompt(key), prompt_logprobs=0))
    scored = []
    for _ in range(3):
        engine.step()
        scored.append(sum(scoring._done for scoring in engine._scored.values()))
    assert scored == [256, 512, 768]
    for key in range(3):
        engine.cancel(key)
    while engine.wait_s() is not None:
        engine.step()
