"""A body's parameters as requests to the line; what needs two parameters to judge is judged here.

Raises ApiError; ranges of single values are the core types' own business (InvalidRequest with the field).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qwen_triton.types import GenerateRequest, SamplingParams, StopConditions, TokenBias

from ..errors import bad_request
from ..settings import ShimSettings

Given = Mapping[str, Any]

STREAM_OPTIONS = ("include_usage", "continuous_usage_stats")


def sampling_params(given: Given, settings: ShimSettings, logprobs: int | None) -> SamplingParams:
    top_k = given.get("top_k")
    if top_k is not None and top_k < -1:
        raise bad_request(f"top_k: must be -1 or more, got {top_k}", "top_k")
    return SamplingParams(
        max_tokens=_max_tokens(given),
        min_tokens=given.get("min_tokens", 0),
        temperature=given.get("temperature", settings.temperature),
        top_p=given.get("top_p", settings.top_p),
        top_k=top_k if top_k and top_k > 0 else None,
        min_p=given.get("min_p"),
        repetition_penalty=given.get("repetition_penalty"),
        presence_penalty=given.get("presence_penalty"),
        frequency_penalty=given.get("frequency_penalty"),
        seed=given.get("seed"),
        logprobs=logprobs,
        n=given.get("n", 1),
        best_of=given.get("best_of"),
    )


def _max_tokens(given: Given) -> int | None:
    names = [name for name in ("max_completion_tokens", "max_tokens") if name in given]
    values = {given[name] for name in names}
    if len(values) > 1:
        raise bad_request("max_tokens: is another name of max_completion_tokens; give one of them", "max_tokens")
    if 0 in values:
        raise bad_request(f"{names[0]}: must be 1 or more", names[0])
    return values.pop() if values else None


def stop_conditions(given: Given) -> StopConditions:
    stop = given.get("stop", ())
    return StopConditions(
        (stop,) if isinstance(stop, str) else tuple(stop),
        tuple(given.get("stop_token_ids", ())),
        given.get("include_stop_str_in_output", False),
        given.get("ignore_eos", False),
    )


def token_bias(given: Given) -> TokenBias:
    try:
        return TokenBias(token_ids={int(k): float(v) for k, v in given.get("logit_bias", {}).items()})
    except ValueError:
        raise bad_request("logit_bias: its keys must be token ids", "logit_bias") from None


def base_request(given: Given, settings: ShimSettings, logprobs: int | None) -> GenerateRequest:
    """Everything but the prompt, which is empty here (see with_prompt)."""
    check_stream_options(given)
    return GenerateRequest(
        prompt="",
        sampling=sampling_params(given, settings, logprobs),
        stop=stop_conditions(given),
        bias=token_bias(given),
        stream=given.get("stream", False),
        count_pieces=usage_options(given)[1],
        prompt_format="raw",
        echo=given.get("echo", False),
        accumulate=False,
    )


def check_stream_options(given: Given) -> None:
    options = given.get("stream_options")
    if options is None:
        return
    if not given.get("stream"):
        raise bad_request("stream_options: only with stream = true", "stream_options")
    for name in options:
        if name not in STREAM_OPTIONS:
            raise bad_request(
                f"stream_options.{name}: unknown; there are {', '.join(STREAM_OPTIONS)}",
                f"stream_options.{name}",
                "unknown_parameter",
            )


def usage_options(given: Given) -> tuple[bool, bool]:
    """Whether the usage comes last, and whether each chunk has it so far."""
    options = given.get("stream_options", {})
    return options.get("include_usage", False), options.get("continuous_usage_stats", False)


def with_prompt(base: GenerateRequest, prompt: str | list[int]) -> GenerateRequest:
    if isinstance(prompt, str):
        return replace(base, prompt=prompt)
    return replace(base, prompt=None, token_ids=tuple(prompt))
