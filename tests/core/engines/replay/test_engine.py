"""The engine without a model: what replaces unwanted tokens, and which prefixes count as cached."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from qwen_triton.engines.replay.engine import ReplayEngine
from qwen_triton.engines.replay.options import ReplayOptions
from qwen_triton.types import EngineRequest, PromptLogProbs, SamplingParams, TokenChunk


def play(engine: ReplayEngine, request: EngineRequest) -> list[TokenChunk]:
    """All chunks of one request that is alone there."""
    engine.add(1, request)
    chunks: list[TokenChunk] = []
    while not (chunks and chunks[-1].finish):
        chunks += [chunk for _, chunk in engine.step()]
    return chunks


def answered(bad_words: tuple[tuple[int, ...], ...] = (), bias: Mapping[int, float] | None = None) -> list[int]:
    """The answer where the script is 5 6 7 6."""
    sampling = SamplingParams(max_tokens=4, seed=0)
    request = EngineRequest((5, 6, 7, 6), sampling, bad_words=bad_words, bias=bias or {})
    return [i for chunk in play(ReplayEngine(ReplayOptions()), request) for i in chunk.token_ids]


@pytest.mark.parametrize(
    ("bad_words", "bias", "expected"),
    [
        ((), {}, [5, 6, 7, 6]),
        (((6,),), {}, [5, 0, 7, 0]),
        (((6, 7),), {}, [5, 6, 0, 6]),
        (((5, 6, 7), (0, 6)), {}, [5, 6, 0, 0]),
        (((6,), (0,)), {}, [5, 1, 7, 1]),
        ((), {9: 9.9}, [5, 6, 7, 6]),
        ((), {9: 10.5}, [9, 9, 9, 9]),
        ((), {6: -10.5, 9: 3.0}, [5, 9, 7, 9]),
        ((), {6: -10.5}, [5, 0, 7, 0]),
        (((9,),), {9: 50.0, 8: 20.0}, [8, 8, 8, 8]),
    ],
)
def test_bad_words_and_biases(
    bad_words: tuple[tuple[int, ...], ...], bias: dict[int, float], expected: list[int]
) -> None:
    assert answered(bad_words, bias) == expected


def test_the_first_chunk_says_what_was_cached() -> None:
    engine = ReplayEngine(ReplayOptions(prefix_caching=True))
    request = EngineRequest(tuple(range(40)), SamplingParams(max_tokens=3, seed=0))
    assert [chunk.cached_tokens for chunk in play(engine, request)] == [0, 0, 0]
    assert [chunk.cached_tokens for chunk in play(engine, request)] == [32, 0, 0]


@pytest.mark.parametrize("ids", [(0, 2**31 - 1), (-(2**31), 151_936)])
def test_any_id_is_played(ids: tuple[int, ...]) -> None:
    """There is no model that could lack one."""
    request = EngineRequest(ids, SamplingParams(max_tokens=2, seed=0, logprobs=2))
    chunks = play(ReplayEngine(ReplayOptions(vocab_size=10)), request)
    assert tuple(i for chunk in chunks for i in chunk.token_ids) == ids


@pytest.mark.parametrize(
    ("tops", "expected"),
    [
        (None, None),
        (0, PromptLogProbs([-0.5, -0.5])),
        (2, PromptLogProbs([-0.5, -0.5], [[(6, -0.5), (7, -1.5)], [(9, -0.5), (10, -1.5)]])),
    ],
)
def test_log_probs_of_a_prompt_come_once(tops: int | None, expected: PromptLogProbs | None) -> None:
    request = EngineRequest((5, 6, 9), SamplingParams(max_tokens=3, seed=0, prompt_logprobs=tops))
    first, *others = play(ReplayEngine(ReplayOptions()), request)
    assert first.prompt == expected
    assert [chunk.prompt for chunk in others] == [None, None]
