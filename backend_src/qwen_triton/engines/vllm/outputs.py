"""vLLM's outputs of one sequence as token chunks. Reads attributes only: imports no vllm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...types import FinishReason, PromptLogProbs, TokenChunk

_FINISH: dict[int, FinishReason] = {0: "stop", 1: "length", 2: "cancelled"}
"""vLLM's FinishReason (0 stop, 1 length, 2 abort); everything else is an error."""


def token_chunk(output: Any, stop_ids: frozenset[int], logprobs: int | None) -> TokenChunk:
    """One EngineCoreOutput as a chunk.

    `stop_ids`: ids that end the sequence; the one that did is the last of the output. `logprobs`: how many log probs of
    other tokens were requested, None = none at all. The chunk behind the prompt says how much of it was in the cache.
    """
    cached_tokens = 0 if output.prefill_stats is None else output.prefill_stats.num_cached_tokens
    token_ids: Sequence[int] = output.new_token_ids
    chosen, top = _log_probs(output.new_logprobs, len(token_ids), logprobs)
    if output.finish_reason is None:
        return TokenChunk(token_ids, chosen, top, cached_tokens=cached_tokens)
    finish = _FINISH.get(int(output.finish_reason), "error")
    stop = None
    if finish == "stop" and token_ids and token_ids[-1] in stop_ids:
        stop, token_ids, chosen, top = token_ids[-1], token_ids[:-1], chosen[:-1], top[:-1]
    error = _error(output) if finish == "error" else ""
    return TokenChunk(token_ids, chosen, top, finish, stop, cached_tokens=cached_tokens, error=error)


def prompt_log_probs(tensors: Any, wanted: int) -> PromptLogProbs:
    """Log probs of a prompt from its second token on, and those of the `wanted` likeliest at each place.

    `tensors`: vLLM's LogprobsTensors of a sequence's first output, None for a prompt of one token. A row is as one of
    `_log_probs`.
    """
    if tensors is None:
        return PromptLogProbs()
    chosen, top = _log_probs(tensors, len(tensors.logprobs), wanted)
    return PromptLogProbs(chosen, top)


def _log_probs(lists: Any, count: int, wanted: int | None) -> tuple[list[float], list[list[tuple[int, float]]]]:
    """Log probs of the `count` tokens, and those of the `wanted` likeliest of each.

    Column 0 of a row is the token itself; a row is as wide as the widest of the batch, so it is cut.
    """
    if wanted is None or lists is None:
        return [], []
    values, ids = lists.logprobs.tolist()[:count], lists.logprob_token_ids.tolist()[:count]
    chosen = [row[0] for row in values]
    if not wanted:
        return chosen, []
    rows = zip(ids, values, strict=True)
    return chosen, [list(zip(i[1 : wanted + 1], v[1 : wanted + 1], strict=True)) for i, v in rows]


def _error(output: Any) -> str:
    error = getattr(output, "error", None)  # 0.26 has no such field; its core's log has the cause
    return f"vLLM: {error.message}" if error is not None else "vLLM could not go on with it; the engine's log says why"
