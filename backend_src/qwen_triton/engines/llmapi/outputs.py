"""TensorRT-LLM's outputs of one sequence as token chunks. Reads attributes only: imports no tensorrt_llm."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from ...types import FinishReason, TokenChunk

_FINISH: dict[str, FinishReason] = {"stop": "stop", "length": "length", "cancelled": "cancelled"}
"""Reasons of a CompletionOutput; any other («timeout») is an error."""


class LlmOutput(NamedTuple):
    """What a step has added to a sequence. `log_probs`: an entry for each token, {id: Logprob} or a number."""

    name: str
    token_ids: Sequence[int] = ()
    log_probs: Sequence[Any] = ()
    finish: str | None = None
    stop_reason: int | str | None = None
    cached_tokens: int = 0
    error: str = ""


def new_output(name: str, completion: Any, seen: int, cached_tokens: int) -> LlmOutput:
    """What a CompletionOutput, which holds all so far, has beyond the `seen` first tokens.

    Its lists are cut at the end by the stop id that fired, so the ids may be fewer than the log probs.
    """
    ids = completion.token_ids[seen:]
    log_probs = (completion.logprobs or ())[seen : seen + len(ids)]
    return LlmOutput(name, ids, log_probs, completion.finish_reason, completion.stop_reason, cached_tokens)


def token_chunk(output: LlmOutput, end_ids: Sequence[int], wanted: int | None) -> TokenChunk:
    """An output as a chunk.

    `end_ids`: ids that end the sequence, the one that is TensorRT-LLM's end id first: whether that one stands at the end of
    the tokens depends on the sampler. `wanted`: log probs of other tokens than the chosen one, None = none at all.
    """
    ids, cached = output.token_ids, output.cached_tokens
    if output.error:
        return TokenChunk(finish="error", error=f"TensorRT-LLM: {output.error}")
    stop = None
    finish = None if output.finish is None else _FINISH.get(output.finish, "error")
    if finish == "stop":
        stop = _stop_id(output, end_ids)
        if ids and ids[-1] == stop:
            ids = ids[:-1]
    chosen, top = _log_probs(output.log_probs, ids, wanted)
    if chosen is None:
        return TokenChunk(finish="error", error="TensorRT-LLM gave no log prob of a token that it chose")
    error = f"TensorRT-LLM ended the sequence: {output.finish}" if finish == "error" else ""
    return TokenChunk(ids, chosen, top, finish, stop, cached_tokens=cached, error=error)


def _stop_id(output: LlmOutput, end_ids: Collection[int]) -> int | None:
    if isinstance(output.stop_reason, int):
        return output.stop_reason
    if output.token_ids and output.token_ids[-1] in end_ids:
        return output.token_ids[-1]
    return next(iter(end_ids), None)


def _log_probs(
    entries: Sequence[Any], ids: Sequence[int], wanted: int | None
) -> tuple[list[float] | None, list[list[tuple[int, float]]]]:
    """Log probs of the tokens, None where one is missing, and those of the `wanted` likeliest of each."""
    if wanted is None or not ids:
        return [], []
    chosen, top = [], []
    for token, entry in zip(ids, entries, strict=False):
        if isinstance(entry, float):  # of the chosen token alone
            chosen.append(entry)
            continue
        if token not in entry:
            return None, []
        chosen.append(entry[token].logprob)
        if wanted:
            ranked = sorted(entry.items(), key=lambda item: -item[1].logprob)
            top.append([(other, found.logprob) for other, found in ranked[:wanted]])
    return (chosen if len(chosen) == len(ids) else None), top
