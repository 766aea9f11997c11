"""Endpoints POST /v1/messages and /v1/messages/count_tokens, Anthropic's API."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ..answers.messages.message import MessageContent, message_head, whole_message
from ..answers.messages.message_writer import MessageWriter
from ..answers.response import EventStream, whole
from ..answers.usage import UsageCount
from ..bodies.body import read_given
from ..bodies.body_parameter import COUNT_TOKENS, MESSAGES
from ..bodies.forms import with_form_name
from ..bodies.messages.plan import NAMES, plan_message, shows_thinking
from ..errors import Json
from ..service import service_of
from .tokenization import chat_token_ids

router = APIRouter(tags=["Anthropic"])


@router.post("/v1/messages", operation_id="create_message")
async def create_message(request: Request) -> Response:
    """A message, whole or streamed."""
    service = service_of(request)
    given = await read_given(request, MESSAGES)
    service.triton_model(given["model"])
    plan = plan_message(given, service.settings)
    reader = await service.answer(request, given["model"], [plan.request], with_form_name(NAMES, given))
    head, usage = message_head(given["model"]), UsageCount(1)
    content = MessageContent(plan.new_choice(), show_thinking=shows_thinking(given))
    if not plan.request.stream:
        return await whole(request, reader, lambda pieces: whole_message(head, pieces, content, usage))
    writer = MessageWriter(head, content, usage, request.scope.get("request_id", ""))
    return EventStream(reader, writer, service.settings.keep_alive_s)


@router.post("/v1/messages/count_tokens", operation_id="count_message_tokens")
async def count_tokens(request: Request) -> Json:
    """The tokens of the prompt that a message would have."""
    service = service_of(request)
    given = await read_given(request, COUNT_TOKENS)
    service.triton_model(given["model"])
    prompt = plan_message(given, service.settings).request
    return Json({"input_tokens": len(await chat_token_ids(service, prompt, NAMES))})
