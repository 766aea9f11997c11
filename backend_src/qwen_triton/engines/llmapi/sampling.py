"""An engine request as keyword arguments of TensorRT-LLM's SamplingParams, checked before TensorRT-LLM sees them.

Its workers check some of this in a step, and pass over the rest. Pure: imports no tensorrt_llm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...errors import InvalidRequest
from ...types import EngineRequest, SamplingParams
from ..gpu.bounds import check_biases, check_ids, check_prompt

_MOST_STOP_IDS = 128
_MOST_BAD_WORDS = 128
_SEEDS = 2**63 - 1
_NEVER = -1e9
"""The bias of a token that must not come. Not infinite: an infinite logit is no number once a penalty has met it."""
NO_END = -1
"""TensorRT-LLM's end id of a sequence that no token ends; None would make it ask for a tokenizer."""


@dataclass(frozen=True, slots=True)
class LlmBounds:
    """What a loaded engine takes: tokens of prompt and answer, ids below `vocab_size`, and tokens of a prompt.

    `max_prompt` None: a longer prompt than a step has tokens is split (engine.enable_chunked_prefill).
    """

    max_context: int
    vocab_size: int
    max_prompt: int | None


def sampling_arguments(request: EngineRequest, bounds: LlmBounds) -> dict[str, Any]:
    """Keyword arguments of SamplingParams for one sequence, but for `grammar` and `bias`, which become its objects.

    Ends are ids alone: words of several tokens would be cut from tokens that were sent already, and stop strings are found
    in the text. Raises InvalidRequest for what the engine does not take.
    """
    sampling, vocab_size = request.sampling, bounds.vocab_size
    check_prompt(request.token_ids, bounds.max_context, vocab_size)
    if bounds.max_prompt is not None and len(request.token_ids) > bounds.max_prompt:
        raise InvalidRequest(
            f"at most {bounds.max_prompt} tokens, got {len(request.token_ids)}; the deployment may have a higher "
            "engine.max_num_tokens, or engine.enable_chunked_prefill",
            "input_ids",
        )
    room = bounds.max_context - len(request.token_ids)
    max_tokens = min(sampling.max_tokens or room, room)
    min_tokens = min(sampling.min_tokens, max_tokens)
    ends = end_ids(request)
    check_ids(ends, vocab_size, "stop_token_ids")
    if len(ends) > _MOST_STOP_IDS:
        raise InvalidRequest(f"at most {_MOST_STOP_IDS}, got {len(ends)}", "stop_token_ids")
    bias = _bias(request, vocab_size)
    if min_tokens and len(ends) > 1:
        bias |= dict.fromkeys(_unmasked_ends(request), _NEVER)
        ends = ends[:1]
    return {
        **_choice(sampling),
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "max_tokens": max_tokens,
        "min_tokens": min_tokens if min_tokens and ends else None,
        "end_id": ends[0] if ends else NO_END,
        "pad_id": ends[0] if ends else 0,
        "stop_token_ids": list(ends[1:]) or None,
        "bad_token_ids": _bad_words(request, vocab_size),
        "logprobs": None if sampling.logprobs is None else max(1, sampling.logprobs),
        "detokenize": False,
        "add_special_tokens": False,
        "grammar": request.grammar,
        "bias": bias,
    }


def end_ids(request: EngineRequest) -> tuple[int, ...]:
    """All ids that end the answer, the first of which is TensorRT-LLM's end id."""
    return tuple(dict.fromkeys((*request.end_ids, *request.stop_token_ids)))


def _unmasked_ends(request: EngineRequest) -> tuple[int, ...]:
    """Ends that TensorRT-LLM would not keep back until min_tokens are there: it masks its end id alone.

    Those of the checkpoint are kept back for the whole answer, which its first end id ends. Raises InvalidRequest for
    the request's own.
    """
    if request.stop_token_ids:
        raise InvalidRequest(
            "not with min_tokens: this engine keeps back one end id alone; leave it out", "stop_token_ids"
        )
    return request.end_ids[1:]


def _choice(sampling: SamplingParams) -> dict[str, Any]:
    """The choice of a token; without a seed that is needed, so that a greedy request shares its batch."""
    if sampling.greedy or sampling.top_p == 0:
        return {"top_k": 1}
    return {
        "temperature": 1.0 if sampling.temperature is None else sampling.temperature,
        "top_p": 1.0 if sampling.top_p is None else sampling.top_p,
        "top_k": sampling.top_k or 0,
        "min_p": sampling.min_p or None,
        "seed": None if sampling.seed is None else sampling.seed & _SEEDS,
    }


def _bias(request: EngineRequest, vocab_size: int) -> dict[int, float]:
    check_biases(request.bias, vocab_size)
    return dict(request.bias)


def _bad_words(request: EngineRequest, vocab_size: int) -> list[int] | None:
    """Words of one token. Of longer ones TensorRT-LLM makes ids by a tokenizer, which it has not here."""
    words = [word for word in request.bad_words if word]
    if longer := [word for word in words if len(word) > 1]:
        raise InvalidRequest(
            f"this engine takes words of one token, got one of {len(longer[0])}; leave it out", "bad_words"
        )
    if len(words) > _MOST_BAD_WORDS:
        raise InvalidRequest(f"at most {_MOST_BAD_WORDS} words, got {len(words)}", "bad_words")
    ids = [word[0] for word in words]
    check_ids(ids, vocab_size, "bad_words")
    return ids or None
