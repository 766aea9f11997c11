"""Plan of a request: a body's parameters as a GenerateRequest, with checks of one parameter against another.

The range of a single value is checked by the core's types. Knows no HTTP, no tensors and no prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qwen_triton.types import GenerateRequest, SamplingParams, StopConditions, TokenBias

from ..errors import bad_request
from ..settings import ShimSettings
from .body_parameter import HIGHEST, SAMPLED
from .forms import answer_form

Given = Mapping[str, Any]

_ID_DIGITS = 10
"""The most digits of a token id, which is below 2**31."""

STREAM_OPTIONS = ("include_usage", "continuous_usage_stats", "include_obfuscation")
"""The last is a hint: it hides the lengths of chunks from who reads encrypted traffic, and changes no answer."""
_INTERNAL_OPTIONS = {
    "allow_control_tokens": "control tokens of a message are plain text",
    "chat_template": "the checkpoint's chat template is the only one",
}
"""Template options that callers may not send, with the reason."""


def sampling_params(given: Given, settings: ShimSettings, logprobs: int | None) -> SamplingParams:
    """The sampling parameters of a body. Raises ApiError, and InvalidRequest for a value outside its range.

    `temperature` and `top_p` are the deployment's where the body has none. `logprobs` is already read, because each
    endpoint has its own form of it.
    """
    values: dict[str, Any] = {"temperature": settings.temperature, "top_p": settings.top_p, "logprobs": logprobs}
    values |= {p.name: given[p.openai] for p in SAMPLED if p.openai in given}
    for name, high in HIGHEST.items():
        if values[name] is not None and values[name] > high:
            raise bad_request(f"{name}: must be in [0, {high}], got {values[name]:g}", name)
    values["top_k"] = _top_k(values.get("top_k"))
    values["max_tokens"] = _max_tokens(given)
    return SamplingParams(**values)


def _top_k(top_k: int | None) -> int | None:
    """None for «all tokens», which is 0 in transformers and -1 in vLLM."""
    if top_k is not None and top_k < -1:
        raise bad_request(f"top_k: must be -1 or more, got {top_k}", "top_k")
    return top_k if top_k and top_k > 0 else None


def _max_tokens(given: Given) -> int | None:
    names = [name for name in ("max_completion_tokens", "max_tokens") if name in given]
    values = {given[name] for name in names}
    if len(values) > 1:
        raise bad_request("max_tokens: is another name of max_completion_tokens; give one of them", "max_tokens")
    if any(value < 1 for value in values):
        raise bad_request(f"{names[0]}: must be 1 or more", names[0])
    return values.pop() if values else None


def stop_conditions(given: Given) -> StopConditions:
    """When an answer ends. Raises InvalidRequest for an empty stop string."""
    stop = given.get("stop", ())
    return StopConditions(
        (stop,) if isinstance(stop, str) else tuple(stop),
        tuple(given.get("stop_token_ids", ())),
        given.get("include_stop_str_in_output", False),
        given.get("ignore_eos", False),
    )


def token_bias(given: Given) -> TokenBias:
    """Biases by token id, from an object whose keys are ids in text, as JSON has no others. Raises ApiError."""
    given_bias = given.get("logit_bias", {})
    for key in given_bias:
        if not (key.isascii() and key.isdigit() and len(key) <= _ID_DIGITS):
            raise bad_request(f"logit_bias: its keys must be token ids, got {key[:60]!r}", "logit_bias")
    return TokenBias(token_ids={int(k): float(v) for k, v in given_bias.items()})


TEMPLATE_OPTIONS = ("enable_thinking", "reasoning_effort", "add_generation_prompt", "continue_final_message")
"""Parameters of a chat's body that are options of the chat template."""


def with_template_options(given: Given) -> Given:
    """The body with its template options among `chat_template_kwargs`. Raises ApiError for one with two values."""
    options = dict(given.get("chat_template_kwargs", {}))
    for name in TEMPLATE_OPTIONS:
        if name in given and options.setdefault(name, given[name]) != given[name]:
            raise bad_request(f"{name}: chat_template_kwargs has another value of it; give one of them", name)
    return {**given, "chat_template_kwargs": options}


def template_options(given: Given) -> dict[str, Any]:
    """Options of the checkpoint's chat template. Raises ApiError for one that no caller may choose."""
    options = dict(given.get("chat_template_kwargs") or {})
    for name in (name for name in _INTERNAL_OPTIONS if name in options):
        path = f"chat_template_kwargs.{name}"
        raise bad_request(f"{path}: {_INTERNAL_OPTIONS[name]}; leave it out", path, "unsupported_parameter")
    return options


def base_request(given: Given, settings: ShimSettings, logprobs: int | None) -> GenerateRequest:
    """A request with all of the body but its prompt, which is empty (see with_prompt). Raises ApiError, InvalidRequest."""
    check_stream_options(given)
    return GenerateRequest(
        prompt="",
        sampling=sampling_params(given, settings, logprobs),
        stop=stop_conditions(given),
        bias=token_bias(given),
        stream=given.get("stream", False),
        count_pieces=usage_options(given)[1],
        clamp_max_tokens=True,
        prompt_format="raw",
        echo=given.get("echo", False),
        form=answer_form(given),
        return_token_ids=given.get("return_token_ids", False),
        accumulate=False,
    )


def check_stream_options(given: Given) -> None:
    """Raises ApiError for stream options that ask for something without `stream`, or one that does not exist."""
    options = given.get("stream_options", {})
    if any(options.values()) and not given.get("stream"):
        raise bad_request("stream_options: only with stream = true", "stream_options")
    for name in options:
        if name not in STREAM_OPTIONS:
            raise bad_request(
                f"stream_options.{name}: unknown; there are {', '.join(STREAM_OPTIONS)}",
                f"stream_options.{name}",
                "unknown_parameter",
            )


def usage_options(given: Given) -> tuple[bool, bool]:
    """(whether the usage comes in a chunk of its own at the end, whether each chunk has the usage so far).

    The second only with the first, as in vLLM.
    """
    options = given.get("stream_options", {})
    last = options.get("include_usage") is True
    return last, last and options.get("continuous_usage_stats") is True


def with_prompt(base: GenerateRequest, prompt: str | list[int]) -> GenerateRequest:
    """`base` for one prompt, a text or token ids."""
    if isinstance(prompt, str):
        return replace(base, prompt=prompt)
    return replace(base, prompt=None, token_ids=tuple(prompt))
