"""An engine request as keyword arguments of vLLM's SamplingParams, checked before vLLM sees them.

vLLM checks some of this in the step of its core, where one wrong request ends the engine for all; so every bound is
checked here. The bounds are those of vLLM 0.26's and 0.33's model runners. Pure: imports no vllm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import InvalidRequest
from ...types import EngineRequest, SamplingParams
from ..gpu.bounds import check_biases, check_ids, check_prompt

_MOST_BAD_WORDS = 128
_MOST_BAD_WORD_TOKENS = 1024
_MOST_STOP_IDS = 128
"""Only with min_tokens: the core masks the stop ids until then."""
_HOTTEST = 2.0
_SEEDS = 2**63 - 1


@dataclass(frozen=True, slots=True)
class CoreBounds:
    """What a loaded engine takes: tokens of prompt and answer, ids below `vocab_size`, log probs of a token.

    `speculative`: it guesses tokens, and vLLM then takes no `min_p` and no biases.
    """

    max_context: int
    vocab_size: int
    max_logprobs: int
    speculative: bool = False


def sampling_arguments(request: EngineRequest, bounds: CoreBounds) -> dict[str, Any]:
    """Keyword arguments by which vLLM samples one sequence. Raises InvalidRequest for what the core does not take.

    The answer's end is a stop id here, since vLLM's own end id would come without saying which one it was.
    """
    sampling = request.sampling
    max_context, vocab_size, max_logprobs = bounds.max_context, bounds.vocab_size, bounds.max_logprobs
    check_prompt(request.token_ids, max_context, vocab_size)
    if bounds.speculative:
        _check_speculative(request)
    stops = sorted({*request.end_ids, *request.stop_token_ids})
    check_ids(stops, vocab_size, "stop_token_ids")
    room = max_context - len(request.token_ids)
    max_tokens = min(sampling.max_tokens or room, room)
    min_tokens = min(sampling.min_tokens, max_tokens)
    if min_tokens and len(stops) > _MOST_STOP_IDS:
        raise InvalidRequest(f"at most {_MOST_STOP_IDS} with min_tokens, got {len(stops)}", "stop_token_ids")
    for name, count in (("logprobs", sampling.logprobs), ("prompt_logprobs", sampling.prompt_logprobs)):
        if count is not None and count > max_logprobs:
            raise InvalidRequest(f"at most {max_logprobs} (engine.max_logprobs), got {count}", name)
    return {
        **_choice(sampling),
        "repetition_penalty": _or(sampling.repetition_penalty, 1.0),
        "presence_penalty": _or(sampling.presence_penalty, 0.0),
        "frequency_penalty": _or(sampling.frequency_penalty, 0.0),
        "max_tokens": max_tokens,
        "min_tokens": min_tokens,
        "stop_token_ids": stops,
        "ignore_eos": True,
        "logprobs": sampling.logprobs,
        "prompt_logprobs": sampling.prompt_logprobs,
        "logit_bias": _biases(request, vocab_size),
        "_bad_words_token_ids": _bad_words(request, vocab_size),
        "detokenize": False,
        "structured_outputs": request.grammar or None,
    }


def _choice(sampling: SamplingParams) -> dict[str, Any]:
    if sampling.greedy or sampling.top_p == 0:
        return {"temperature": 0.0}
    temperature = _or(sampling.temperature, 1.0)
    if temperature > _HOTTEST:
        raise InvalidRequest(f"the vllm engine takes at most {_HOTTEST:g}, got {temperature:g}", "temperature")
    return {
        "temperature": temperature,
        "top_p": _or(sampling.top_p, 1.0),
        "top_k": sampling.top_k or 0,
        "min_p": _or(sampling.min_p, 0.0),
        "seed": None if sampling.seed is None else sampling.seed & _SEEDS,
    }


def _check_speculative(request: EngineRequest) -> None:
    for name, asked in (("min_p", request.sampling.min_p), ("logit_bias", request.bias)):
        if asked:
            raise InvalidRequest("not with speculative decoding (engine.speculative_config); leave it out", name)


def _biases(request: EngineRequest, vocab_size: int) -> dict[int, float] | None:
    if not request.bias:
        return None
    check_biases(request.bias, vocab_size)
    return dict(request.bias)


def _bad_words(request: EngineRequest, vocab_size: int) -> list[list[int]] | None:
    words = [list(word) for word in request.bad_words if word]
    if not words:
        return None
    tokens = [token for word in words for token in word]
    check_ids(tokens, vocab_size, "bad_words")
    if len(words) > _MOST_BAD_WORDS or len(tokens) > _MOST_BAD_WORD_TOKENS:
        raise InvalidRequest(
            f"at most {_MOST_BAD_WORDS} words of {_MOST_BAD_WORD_TOKENS} tokens, got {len(words)} of {len(tokens)}",
            "bad_words",
        )
    return words


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
