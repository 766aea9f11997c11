"""Endpoint POST /v1/chat/completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter, Request, Response

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.contract import INPUT_IDS, TEXT_INPUT
from qwen_triton.types import GUIDE, GenerateRequest

from ..answers.chat_message import ChatChoice, whole_choices
from ..answers.chat_writer import ChatWriter
from ..answers.chunks import ChunkFrame
from ..answers.response import EventStream, whole
from ..answers.usage import UsageCount
from ..errors import bad_request, to_api_error
from ..service import service_of
from ..settings import ShimSettings
from .body import read_given
from .forms import form_parameter
from .parameters import CHAT
from .plan import base_request, usage_options, with_template_options
from .tool_choice import ToolPlan, plan_tools, with_tools

router = APIRouter()

NAMES = {TEXT_INPUT: "messages", INPUT_IDS: "messages", "top_logprobs": "top_logprobs"}
"""The model's name of a parameter → this endpoint's."""


def plan_chat(given: Mapping[str, Any], settings: ShimSettings) -> tuple[GenerateRequest, ToolPlan]:
    """The request to the model, and how tool calls are read from its answer. Raises ApiError."""
    if len(given["messages"]) > settings.max_messages:
        message = f"messages: {len(given['messages'])} are more than the {settings.max_messages} that are taken here"
        raise bad_request(message, "messages", "too_many_messages")
    if "top_logprobs" in given and not given.get("logprobs"):
        raise bad_request("top_logprobs: needs logprobs = true", "top_logprobs")
    given = with_template_options(given)
    tools = plan_tools(given)
    logprobs = given.get("top_logprobs", 0) if given.get("logprobs") else None
    try:
        return with_tools(base_request(given, settings, logprobs), given, tools), tools
    except QwenTritonError as error:
        raise to_api_error(error, NAMES) from error


@router.post("/v1/chat/completions", operation_id="create_chat_completion", tags=["OpenAI"])
async def create_chat_completion(request: Request) -> Response:
    """A chat completion, whole or streamed."""
    service = service_of(request)
    given = await read_given(request, CHAT)
    service.triton_model(given["model"])
    model_request, tools = plan_chat(given, service.settings)
    reader = await service.answer(request, given["model"], [model_request], NAMES | {GUIDE: form_parameter(given)})
    completion_id, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
    new_choice = partial(ChatChoice, tools=tools.read, single=tools.single, begun=model_request.answer_prefix)
    usage = UsageCount(model_request.sampling.n)
    if not model_request.stream:
        head = {"id": completion_id, "object": "chat.completion", "created": created, "model": given["model"]}
        return await whole(
            request, reader,
            lambda pieces: head | {"choices": whole_choices(pieces, new_choice, usage), "usage": usage.as_json()},
        )  # fmt: skip
    last, each = usage_options(given)
    frame = ChunkFrame("chat.completion.chunk", completion_id, created, given["model"], usage=last or each)
    return EventStream(
        reader, ChatWriter(frame, new_choice, usage, last=last, each=each), service.settings.keep_alive_s
    )
