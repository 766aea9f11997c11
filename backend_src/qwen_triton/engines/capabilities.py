"""Which engine honours which parameter: the one table; what is not in it is refused with the parameter's name."""

from __future__ import annotations

from ..errors import InvalidRequest
from ..types import EngineRequest

_ALL = {
    "min_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
    "frequency_penalty", "length_penalty", "logprobs", "top_logprobs", "beam_width", "bad_words", "embedding_bias",
}  # fmt: skip

HONOURED: dict[str, frozenset[str]] = {
    "openvino": frozenset(_ALL - {"top_logprobs", "bad_words", "embedding_bias"}),
    "replay": frozenset(
        {
            *("temperature", "top_k", "top_p", "min_p", "min_tokens", "logprobs", "top_logprobs"),
            *("bad_words", "embedding_bias"),
        }
    ),
    "tensorrtllm": frozenset(_ALL - {"min_p", "top_logprobs"}),
}
"""`temperature`, `top_k`, `top_p` and `min_p` change nothing in replay: a script has one answer at any temperature."""


def _used(request: EngineRequest) -> set[str]:
    s = request.sampling
    numbers = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
    neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "min_p": 0.0}
    used = {n for n in numbers if getattr(s, n) not in (None, neutral.get(n))}
    used |= {"length_penalty"} if s.length_penalty is not None and s.beam_width > 1 else set()
    used |= {"min_tokens"} if s.min_tokens else set()
    used |= {"beam_width"} if s.beam_width > 1 else set()
    used |= {"logprobs"} if s.logprobs is not None else set()
    used |= {"top_logprobs"} if s.logprobs else set()
    used |= {"bad_words"} if request.bad_words else set()
    return used | ({"embedding_bias"} if request.bias else set())


def check_honoured(engine: str, request: EngineRequest) -> None:
    """Raises InvalidRequest naming the first parameter of `request` that `engine` would not honour."""
    missing = sorted(_used(request) - HONOURED[engine])
    if missing:
        raise InvalidRequest(f"the {engine} engine does not support it; leave it out", missing[0])
