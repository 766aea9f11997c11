"""Endpoint POST /v1/completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request, Response

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.contract import INPUT_IDS, PROMPT_LOGPROBS, TEXT_INPUT
from qwen_triton.tensors.limits import too_many, utf8_bytes
from qwen_triton.types import GenerateRequest

from ..answers.chunks import ChunkFrame
from ..answers.completion_writer import CompletionWriter, completion_choices
from ..answers.legacy_logprobs import PromptLogprobsForm
from ..answers.response import EventStream, whole
from ..answers.usage import UsageCount
from ..bodies.body import read_given
from ..bodies.body_parameter import COMPLETIONS
from ..bodies.forms import with_form_name
from ..bodies.plan import base_request, usage_options, with_prompt
from ..errors import bad_request, to_api_error
from ..service import service_of
from ..settings import ShimSettings

router = APIRouter()

NAMES = {TEXT_INPUT: "prompt", INPUT_IDS: "prompt", "top_logprobs": "logprobs"}
"""The model's name of a parameter → this endpoint's."""


def plan_completion(given: Mapping[str, Any], settings: ShimSettings) -> list[GenerateRequest]:
    """One request to the model for each prompt. Raises ApiError."""
    logprobs = given.get("logprobs")
    if given.get("best_of", 0) > given.get("n", 1) and given.get("stream"):
        raise bad_request("best_of: not with stream; the best are known at the end", "best_of")
    prompts = _prompts(given["prompt"], settings.max_prompts)
    tops = max((count for count in prompt_logprobs_form(given) if count is not None), default=None)
    if tops is not None:
        _check_prompt_logprobs(given, prompts, tops, settings)
    try:
        base = base_request(given, settings, logprobs)
        if tops is not None:
            base = replace(base, sampling=replace(base.sampling, prompt_logprobs=tops))
        if _scores_its_prompt(base):
            base = replace(base, stop=replace(base.stop, ignore_eos=True))
        return [with_prompt(base, prompt) for prompt in prompts]
    except QwenTritonError as error:
        raise to_api_error(error, names_of(given)) from error


def prompt_logprobs_form(given: Mapping[str, Any]) -> PromptLogprobsForm:
    """How the answer shows the log probs of its prompts: with `echo` those of the answer begin with them."""
    return PromptLogprobsForm(given.get("logprobs") if given.get("echo") else None, given.get("prompt_logprobs"))


def _scores_its_prompt(base: GenerateRequest) -> bool:
    """Whether the caller wants the log probs of a prompt and has to take a token of an answer, as evaluation harnesses do.

    They count on that token in the lists, where an end token is left out unless it is ignored; the token is the same one.
    """
    sampling = base.sampling
    wanted = base.echo and sampling.logprobs is not None and sampling.prompt_logprobs is not None
    return bool(wanted) and sampling.max_tokens == 1


def names_of(given: Mapping[str, Any]) -> Mapping[str, str]:
    """NAMES for a body: who gave `echo` with `logprobs` knows the log probs of the prompt by that word."""
    return NAMES if "prompt_logprobs" in given else {**NAMES, PROMPT_LOGPROBS: "echo"}


def _check_prompt_logprobs(
    given: Mapping[str, Any], prompts: Sequence[str | list[int]], tops: int, settings: ShimSettings
) -> None:
    """Raises ApiError for log probs of prompts that are too many, or that a stream would have to wait for.

    The model checks each prompt by its tokens. All prompts together are checked here, a text by its bytes, which are no fewer.
    """
    name, most = names_of(given).get(PROMPT_LOGPROBS, "prompt_logprobs"), settings.limits.log_probs_of_prompts
    if given.get("stream") and given.get("n", 1) > 1:
        raise bad_request(f"{name}: log probs of a prompt are not streamed with n > 1; ask for a whole answer", name)
    size = sum(utf8_bytes((p,)) if isinstance(p, str) else len(p) for p in prompts) * (tops + 1)
    if len(prompts) > 1 and size > most:
        raise bad_request(f"{name}: {too_many('log_probs_of_prompts', size, most)}", name)


def _prompts(prompt: Any, most: int) -> list[Any]:
    """The prompts: texts or lists of token ids; a flat list of ids is one prompt. Raises ApiError."""
    prompts = [prompt] if isinstance(prompt, str) or (prompt and isinstance(prompt[0], int)) else prompt
    if not prompts:
        raise bad_request("prompt: is empty", "prompt")
    if len(prompts) > most:
        raise bad_request(f"prompt: at most {most} prompts in one request, got {len(prompts)}", "prompt")
    for index, one in enumerate(prompts):
        if not one:
            raise bad_request("prompt: is empty", "prompt" if len(prompts) == 1 else f"prompt[{index}]")
    return list(prompts)


@router.post("/v1/completions", operation_id="create_completion", tags=["OpenAI"])
async def create_completion(request: Request) -> Response:
    """A text completion, whole or streamed."""
    service = service_of(request)
    given = await read_given(request, COMPLETIONS)
    service.triton_model(given["model"])
    requests = plan_completion(given, service.settings)
    reader = await service.answer(request, given["model"], requests, with_form_name(names_of(given), given))
    completion_id, created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
    n, prompts = requests[0].sampling.n, prompt_logprobs_form(given)
    usage = UsageCount(n)
    if not requests[0].stream:
        head = {"id": completion_id, "object": "text_completion", "created": created, "model": given["model"]}
        return await whole(
            request, reader,
            lambda pieces: head | {"choices": completion_choices(pieces, usage, n, prompts), "usage": usage.as_json()},
        )  # fmt: skip
    last, each = usage_options(given)
    frame = ChunkFrame("text_completion", completion_id, created, given["model"], usage=last or each)
    writer = CompletionWriter(frame, usage, last=last, each=each, prompts=prompts)
    return EventStream(reader, writer, service.settings.keep_alive_s)
