"""Request parameters: keys that are no input of the model, which Triton passes on unchecked.

They are keys of a generate body, `parameters` of a KServe request, or, where the server forwards them, a request's headers.
A model cannot tell these apart. So a key that is, or nearly is, the name of an input is refused, because a misspelt
`max_token` would change the answer without a word; any other key passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from ..errors import InvalidRequest
from ..types import SAMPLING, EngineRequest
from .contract import (
    BLS,
    ENGINE_ONLY,
    ENSEMBLE,
    EXCLUDE_INPUT_IN_OUTPUT,
    INPUTS,
    LATER_ENGINE_ONLY,
    LOGPROBS,
    LORA_INPUTS,
    LORA_NAME,
    POSTPROCESSING,
    PRE_PROMPT,
    PREPROCESSING,
    PROMPT,
    RETURN_LOG_PROBS,
    RETURN_PERF_METRICS,
    STOP,
    STOP_WORDS,
    STREAM,
    STREAMING,
    TENSORRT_LLM,
)

_OF_TRITON = frozenset(
    (
        *("id", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"),
        *("binary_data_output", "triton_enable_empty_final_response"),
    )
)
"""Keys that the server itself reads."""
_OF_STOCKS_CLIENTS = frozenset((STREAMING.capitalize(),))
"""Sent with each request of stock's client of the engine model, and read by nobody."""
_OF_HTTP = frozenset(("Priority",))
"""A header (RFC 9218) that is spelt as an input of the models and means another thing."""
_OWN = {
    PREPROCESSING: (ENSEMBLE, PREPROCESSING),
    TENSORRT_LLM: (TENSORRT_LLM,),
    POSTPROCESSING: (POSTPROCESSING,),
    BLS: (BLS,),
}
"""The models that a caller may have asked, by the model that got the key: preprocessing is an ensemble's first step."""
_OTHERS = {PREPROCESSING: (BLS,), TENSORRT_LLM: (ENSEMBLE, BLS), POSTPROCESSING: (), BLS: ()}
"""Further models whose inputs a caller may have meant."""
_OF_THE_BACKEND = {
    TENSORRT_LLM: dict.fromkeys(
        (*LATER_ENGINE_ONLY, RETURN_PERF_METRICS),
        "is an input of NVIDIA's backend since TensorRT-LLM 0.19, not of this engine: leave it out",
    ),
    **dict.fromkeys(
        (BLS, PREPROCESSING),
        dict.fromkeys(
            (*ENGINE_ONLY, *LATER_ENGINE_ONLY),
            f"is an input of {TENSORRT_LLM} with NVIDIA's backend, not of this model: ask there or leave it out",
        ),
    ),
}
"""By the model that got the key, names of inputs that only NVIDIA's backend has, each with the refusal."""
_OF_LATER_ENSEMBLES = (*(tensor.name for tensor in LORA_INPUTS), RETURN_PERF_METRICS)
_MEANT = {
    **{
        name: p.tensors[0]
        for p in SAMPLING
        if p.tensors
        for name in (p.name, *p.engine_tensors)
        if name not in p.tensors
    },
    STREAMING: STREAM,
    **dict.fromkeys(("max_new_tokens", "max_completion_tokens", "max_output_tokens", "num_predict"), "max_tokens"),
    **dict.fromkeys((STOP, "stop_sequences", "stop_strings"), STOP_WORDS),
    **dict.fromkeys((LOGPROBS, "log_probs"), RETURN_LOG_PROBS),
    "repeat_penalty": "repetition_penalty",
    "num_beams": "beam_width",
    **dict.fromkeys(("lora", "adapter", "adapter_name", "lora_adapter"), LORA_NAME),
    "echo": EXCLUDE_INPUT_IN_OUTPUT,
}
"""What the engine model and other servers call an optional input of the text models. The prompt under another name is
missing, which is said anyway."""
_ALLOWED = ((5, 1), (12, 2), (64, 3))
"""By how many letters a misspelt name may differ, for inputs of up to so many letters."""
_LONG = 8
"""Letters of a name that is found in another one, as max_tokens in max_new_tokens; end_id is in too many."""
_LONGEST_NAME = 128
"""Letters from which on a name is near no input, and is not compared with any."""
CALL = "qwen_triton_call"
"""A request's name for CANCEL_CALL; unlike its id, random, so that nobody else can cancel it."""
CANCEL_CALL = "qwen_triton_cancel"
"""Ends the request whose CALL this is with finish «cancelled»; the request that has it is answered «cancelled»."""
LOCAL_SOCKETS = "qwen_triton_local_sockets"
"""Asks the BLS for the addresses of its processes' local servers, as a JSON list in `text_output`."""


def check_parameters(names: Iterable[str], model: str) -> None:
    """Raises InvalidRequest for the first name that is, or nearly is, an input of `model` or of the ensemble around it.

    `model`: the contract's name of the model that got the request, whatever the deployment calls it.
    """
    for name in names:
        if name in _OF_TRITON or name in _OF_STOCKS_CLIENTS or name in _OF_HTTP:
            continue
        if len(name) <= _LONGEST_NAME and (fault := _fault(name, model)):
            raise InvalidRequest(fault, name)


@lru_cache(maxsize=4096)
def _fault(name: str, model: str) -> str | None:
    """What is wrong with a parameter of that name, None for nothing. Cached, because requests have the same headers."""
    if any(name in _names(owner) for owner in _OWN[model]):
        return "is an input, not a parameter: send it among the inputs"
    if name in _OF_THE_BACKEND.get(model, ()):
        return _OF_THE_BACKEND[model][name]
    if model == PREPROCESSING and name in _OF_LATER_ENSEMBLES:
        return "is an input of an ensemble with TensorRT-LLM 0.19 or newer: send it among the inputs there, or leave it out"
    for owner in _OTHERS[model]:
        if name in _names(owner):
            return f"is an input of {owner}, not of this model: ask there or leave it out"
    known = tuple(dict.fromkeys(n for owner in (*_OWN[model], *_OTHERS[model]) for n in _names(owner)))
    close = _meant(name, known) or _closest(name, known)
    return close and f"no input has this name; did you mean {close}?"


@lru_cache
def _names(model: str) -> tuple[str, ...]:
    """Without `prompt`, which is an input only to be refused (contract.REFUSED_TEXT_INPUTS)."""
    return tuple(tensor.name for tensor in INPUTS[model] if tensor.name not in (PROMPT, PRE_PROMPT))


def _meant(name: str, known: Sequence[str]) -> str | None:
    """The input that has another name elsewhere, or whose words are all in the name, as in `max_new_tokens`."""
    if (meant := _MEANT.get(name.lower())) in known:
        return meant
    words = set(name.lower().split("_"))
    inside = [n for n in known if "_" in n and len(n) >= _LONG and words.issuperset(n.lower().split("_"))]
    return max(inside, key=len, default=None)


def _closest(name: str, known: Sequence[str]) -> str | None:
    """The known name that differs least, if it differs by case, `_` and `-` only, or by few letters (see _ALLOWED).

    A name with a hyphen is a header's; it has to be the same but for these.
    """
    plain = _plain(name)
    best = min(known, key=lambda other: edit_distance(plain, _plain(other)))
    distance = edit_distance(plain, _plain(best))
    allowed = 0 if "-" in name else next(most for length, most in _ALLOWED if len(_plain(best)) <= length)
    return best if distance <= allowed else None


def _plain(name: str) -> str:
    return re.sub("[-_ .]", "", name).lower()


def edit_distance(first: str, second: str) -> int:
    """The fewest letters to insert, remove, replace or swap with their neighbour that make one word of the other."""
    before: list[int] = []
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row, above = row, [i], before
        for j, b in enumerate(second, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == second[j - 2] and first[i - 2] == b:
                cost = min(cost, above[j - 2] + 1)
            row.append(cost)
    return row[-1]


def queue_timeout_s(own_us: int, parameters: Mapping[str, Any], most_ms: int) -> float | None:
    """The queue timeout of a request in seconds: the shortest of three that are set, None where none is.

    `own_us` is the request's own field in microseconds, `parameters` may have a `timeout` in microseconds, `most_ms` is the
    deployment's bound in milliseconds; 0 is not set. Raises InvalidRequest for a key that is no whole number.
    """
    given = parameters.get("timeout", 0)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise InvalidRequest(f"expected whole microseconds, 0 for none, got {given!r}", "timeout")
    limits = (own_us / 1e6, given / 1e6, most_ms / 1e3)
    return min((limit for limit in limits if limit), default=None)


def limit_wait(requests: Sequence[EngineRequest], seconds: float | None) -> list[EngineRequest]:
    """The sequences of one request, with the queue timeout on the first of them only.

    Engines start sequences in order of arrival, so while the first waits all do, and once it runs the request has begun.
    """
    first, *others = requests
    return [first if seconds == first.queue_timeout_s else replace(first, queue_timeout_s=seconds), *others]
