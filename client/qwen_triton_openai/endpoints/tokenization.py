"""Endpoints POST /tokenize and /detokenize, answered by the server's preprocessing and postprocessing models."""

from __future__ import annotations

import json
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.arrays import Array, Arrays, decode_strings
from qwen_triton.tensors.contract import (
    POST_OUTPUT,
    POST_SEQUENCE_LENGTH,
    POST_TOKENS_BATCH,
    PRE_CHAT_TEMPLATE_KWARGS,
    PRE_INPUT_ID,
    PRE_MESSAGES,
    PRE_PROMPT_FORMAT,
    PRE_QUERY,
    PRE_TOOLS,
    TEXT_INPUT,
)

from ..backend.context_length import context_of
from ..errors import Json, bad_request, to_api_error
from ..service import Service, service_of
from .body import read_model
from .parameters import Objects, TokenIds
from .plan import template_options

router = APIRouter(tags=["tokens"])

_NAMES = {TEXT_INPUT: "prompt"}


class TokenizeRequest(BaseModel):
    """A text, or chat messages with template options. Qwen's tokenizers add no special tokens, so there is no option for it."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[Objects, Field(min_length=1)] | None = None
    tools: Objects | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True


class DetokenizeRequest(BaseModel):
    """Token ids to decode."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    tokens: TokenIds


@router.post("/tokenize", operation_id="tokenize")
async def tokenize(request: Request) -> Json:
    """The token ids of a prompt as the model would get them."""
    service = service_of(request)
    body = await read_model(request, TokenizeRequest)
    _check_model(body.model, service)
    outputs = await _infer(service, service.settings.preprocessing_model, _prompt_arrays(body))
    tokens = np.frombuffer(outputs[PRE_INPUT_ID], np.int32).tolist()
    return Json({"count": len(tokens), "max_model_len": context_of(outputs), "tokens": tokens})


@router.post("/detokenize", operation_id="detokenize")
async def detokenize(request: Request) -> Json:
    """The text of token ids; control tokens leave none, unless the deployment keeps them."""
    service = service_of(request)
    body = await read_model(request, DetokenizeRequest)
    _check_model(body.model, service)
    if not body.tokens:
        return Json({"prompt": ""})
    arrays = {
        POST_TOKENS_BATCH: np.array([[body.tokens]], np.int32),
        POST_SEQUENCE_LENGTH: np.array([[len(body.tokens)]], np.int32),
    }
    outputs = await _infer(service, service.settings.postprocessing_model, arrays)
    return Json({"prompt": decode_strings(outputs[POST_OUTPUT])[0]})


def _check_model(name: str | None, service: Service) -> None:
    if name is not None:
        service.triton_model(name)


async def _infer(service: Service, model: str, arrays: Arrays) -> dict[str, bytes]:
    try:
        return await service.backend.infer(model, arrays)
    except QwenTritonError as error:
        raise to_api_error(error, _NAMES) from error


def _prompt_arrays(body: TokenizeRequest) -> dict[str, Array]:
    if (body.prompt is None) == (body.messages is None):
        raise bad_request("prompt: give either a prompt or messages", "prompt")
    if body.prompt is not None:
        if body.tools or body.chat_template_kwargs:
            raise bad_request(
                "messages: tools and chat_template_kwargs go with messages, not with a prompt", "messages"
            )
        return {PRE_QUERY: _text(body.prompt), PRE_PROMPT_FORMAT: _text("raw")}
    options = template_options({"chat_template_kwargs": body.chat_template_kwargs})
    if not body.add_generation_prompt:
        options["add_generation_prompt"] = False
    return {
        PRE_MESSAGES: _text(json.dumps(body.messages, ensure_ascii=False)),
        PRE_TOOLS: _text(json.dumps(body.tools or [], ensure_ascii=False)),
        PRE_CHAT_TEMPLATE_KWARGS: _text(json.dumps(options, ensure_ascii=False)),
    }


def _text(value: str) -> Array:
    return np.array([[value.encode()]], np.object_)
