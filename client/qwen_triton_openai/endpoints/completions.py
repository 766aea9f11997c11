"""Endpoint POST /v1/completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request, Response

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.contract import INPUT_IDS, TEXT_INPUT
from qwen_triton.types import GenerateRequest

from ..answers.chunks import ChunkFrame
from ..answers.completion_writer import CompletionWriter, completion_choices
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
    if given.get("echo") and logprobs is not None:
        raise bad_request(
            "echo: not with logprobs, those of a prompt are not sent here", "echo", "unsupported_parameter"
        )
    if given.get("best_of", 0) > given.get("n", 1) and given.get("stream"):
        raise bad_request("best_of: not with stream; the best are known at the end", "best_of")
    prompts = _prompts(given["prompt"], settings.max_prompts)
    try:
        base = base_request(given, settings, logprobs)
        return [with_prompt(base, prompt) for prompt in prompts]
    except QwenTritonError as error:
        raise to_api_error(error, NAMES) from error


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
    reader = await service.answer(request, given["model"], requests, with_form_name(NAMES, given))
    completion_id, created = f"cmpl-{secrets.token_hex(12)}", int(time.time())
    usage = UsageCount(requests[0].sampling.n)
    if not requests[0].stream:
        head = {"id": completion_id, "object": "text_completion", "created": created, "model": given["model"]}
        return await whole(
            request, reader,
            lambda pieces: head | {"choices": completion_choices(pieces, usage), "usage": usage.as_json()},
        )  # fmt: skip
    last, each = usage_options(given)
    frame = ChunkFrame("text_completion", completion_id, created, given["model"], usage=last or each)
    writer = CompletionWriter(frame, usage, last=last, each=each)
    return EventStream(reader, writer, service.settings.keep_alive_s)
