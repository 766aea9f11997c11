"""Endpoint POST /v1/chat/completions."""

from __future__ import annotations

import secrets
import time

from fastapi import APIRouter, Request, Response

from ..answers.chat_message import prompt_ids_of, whole_choices
from ..answers.chat_writer import ChatWriter
from ..answers.chunks import ChunkFrame
from ..answers.response import EventStream, whole
from ..answers.usage import UsageCount
from ..bodies.body import read_given
from ..bodies.body_parameter import CHAT
from ..bodies.chat_plan import CHAT_NAMES, plan_chat
from ..bodies.forms import with_form_name
from ..bodies.plan import usage_options
from ..service import service_of

router = APIRouter()


@router.post("/v1/chat/completions", operation_id="create_chat_completion", tags=["OpenAI"])
async def create_chat_completion(request: Request) -> Response:
    """A chat completion, whole or streamed."""
    service = service_of(request)
    given = await read_given(request, CHAT)
    service.triton_model(given["model"])
    plan = plan_chat(given, service.settings)
    reader = await service.answer(request, given["model"], [plan.request], with_form_name(CHAT_NAMES, given))
    completion_id, created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
    usage = UsageCount(plan.request.sampling.n)
    if not plan.request.stream:
        head = {"id": completion_id, "object": "chat.completion", "created": created, "model": given["model"]}
        return await whole(
            request, reader,
            lambda pieces: head
            | {"choices": whole_choices(pieces, plan.new_choice, usage), "usage": usage.as_json()}
            | prompt_ids_of(pieces),
        )  # fmt: skip
    last, each = usage_options(given)
    frame = ChunkFrame("chat.completion.chunk", completion_id, created, given["model"], usage=last or each)
    return EventStream(
        reader, ChatWriter(frame, plan.new_choice, usage, last=last, each=each), service.settings.keep_alive_s
    )
