"""Outputs of TensorRT-LLM as chunks: what is new of lists that grow and are cut, ends, log probs, reasons."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from qwen_triton.engines.llmapi.outputs import LlmOutput, new_output, token_chunk
from qwen_triton.types import TokenChunk


def completion(token_ids: list[int], log_probs: list[Any] | None = None, **ended: Any) -> SimpleNamespace:
    plain = {"token_ids": token_ids, "logprobs": log_probs, "finish_reason": None, "stop_reason": None}
    return SimpleNamespace(**{**plain, **ended})


def entry(**values: float) -> dict[int, Any]:
    return {int(name[1:]): SimpleNamespace(logprob=value) for name, value in values.items()}


def test_what_a_step_adds() -> None:
    assert new_output("1", completion([5, 6, 7]), 1, 3) == LlmOutput("1", [6, 7], (), None, None, 3)


def test_a_list_that_a_stop_has_cut_below_what_was_sent_adds_nothing() -> None:
    """Its log probs are not cut with it."""
    found = new_output("1", completion([5], [-0.1, -0.2, -0.3], finish_reason="stop", stop_reason=7), 2, 0)
    assert (found.token_ids, found.log_probs) == ([], [])
    assert token_chunk(found, (9, 7), 0) == TokenChunk([], [], [], "stop", 7)


@pytest.mark.parametrize(
    ("output", "chunk"),
    [
        (LlmOutput("1", [5, 9], finish="stop"), TokenChunk([5], [], [], "stop", 9)),
        (LlmOutput("1", [5], finish="stop"), TokenChunk([5], [], [], "stop", 9)),
        (LlmOutput("1", [5, 7], finish="stop", stop_reason=7), TokenChunk([5], [], [], "stop", 7)),
        (LlmOutput("1", [], finish="stop", stop_reason=7), TokenChunk([], [], [], "stop", 7)),
        (LlmOutput("1", [5, 9], finish="length"), TokenChunk([5, 9], [], [], "length")),
        (LlmOutput("1", [], finish="cancelled"), TokenChunk([], [], [], "cancelled")),
        (
            LlmOutput("1", [], finish="timeout"),
            TokenChunk([], [], [], "error", error="TensorRT-LLM ended the sequence: timeout"),
        ),
        (LlmOutput("1", error="no memory"), TokenChunk(finish="error", error="TensorRT-LLM: no memory")),
    ],
)
def test_ends(output: LlmOutput, chunk: TokenChunk) -> None:
    """With the end id of the sampler that leaves it at the end, and of the one that does not."""
    assert token_chunk(output, (9, 7), None) == chunk


def test_log_probs_by_rank() -> None:
    """As many as are wanted of the likeliest, whatever their order; the chosen one may be none of them."""
    entries = [entry(t3=-2.0, t5=-0.5, t4=-1.0), entry(t8=-0.1, t9=-0.2, t6=-7.0)]
    chunk = token_chunk(LlmOutput("1", [3, 6], entries), (), 2)
    assert chunk.log_probs == [-2.0, -7.0]
    assert chunk.top_log_probs == [[(5, -0.5), (4, -1.0)], [(8, -0.1), (9, -0.2)]]


def test_log_probs_as_numbers() -> None:
    """TRTLLMSampler has the chosen token's alone."""
    assert token_chunk(LlmOutput("1", [3, 6], [-0.5, -0.25]), (), 0).log_probs == [-0.5, -0.25]


@pytest.mark.parametrize("entries", [[entry(t4=-1.0)], []])
def test_a_log_prob_that_is_missing_is_an_error(entries: list[Any]) -> None:
    """Some candidates of 1.2 tell the likeliest alone; an invented number would be worse."""
    chunk = token_chunk(LlmOutput("1", [3], entries), (), 1)
    assert (chunk.finish, chunk.error) == ("error", "TensorRT-LLM gave no log prob of a token that it chose")
