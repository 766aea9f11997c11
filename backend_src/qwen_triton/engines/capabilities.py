"""Capabilities of the engines: which parameters each honours. What an engine does not list is refused by name.

A parameter of the sampling table (types.SAMPLING) that is in no set here is refused by every engine. Knows no tensors and
imports no engine's library, because the BLS checks requests for an engine that runs in another process.
"""

from __future__ import annotations

from ..errors import InvalidRequest
from ..types import SAMPLING, EngineRequest

_SETTLED = {"max_tokens", "seed", "n", "best_of"}
"""Every engine has a length and a seed; preprocessing makes sequences of n and best_of before an engine sees them."""

HONOURED: dict[str, frozenset[str]] = {
    "openvino": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p", "min_p"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty"),
            *("beam_width", "length_penalty", "logprobs"),
        }
    ),
    "replay": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p", "min_p"),
            *("logprobs", "top_logprobs", "bad_words", "embedding_bias"),
        }
    ),
    "vllm": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p", "min_p"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty"),
            *("logprobs", "top_logprobs", "bad_words", "embedding_bias"),
        }
    ),
    "tensorrtllm": frozenset(
        {
            *("min_tokens", "temperature", "top_k", "top_p"),
            *("repetition_penalty", "presence_penalty", "frequency_penalty"),
            *("beam_width", "length_penalty", "logprobs", "bad_words", "embedding_bias"),
        }
    ),
}
"""`top_logprobs` are the log probs of other tokens than the chosen one (logprobs > 0). `temperature`, `top_k`, `top_p` and
`min_p` change nothing in replay: a script has one answer at any temperature."""

_CHECKED = tuple((p.name, p.neutral) for p in SAMPLING if p.name not in _SETTLED)


def _used(request: EngineRequest) -> set[str]:
    """The parameters of which the request asks something of an engine."""
    sampling = request.sampling
    used = {name for name, neutral in _CHECKED if getattr(sampling, name) not in (None, neutral)}
    if sampling.beam_width == 1:
        used.discard("length_penalty")  # without effect there, so no engine need honour it
    if sampling.logprobs:
        used.add("top_logprobs")
    if request.bad_words:
        used.add("bad_words")
    if request.bias:
        used.add("embedding_bias")
    return used


def check_honoured(engine: str, request: EngineRequest) -> None:
    """Raises InvalidRequest naming the first parameter of `request` (by alphabet) that `engine` does not honour."""
    missing = _used(request) - HONOURED[engine]
    if missing:
        raise InvalidRequest(f"the {engine} engine does not support it; leave it out", min(missing))
