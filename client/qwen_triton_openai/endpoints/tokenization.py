"""Endpoints POST /tokenize and /detokenize, answered by the server's preprocessing and postprocessing models; and GET
/tokenizer_info, from the checkpoint's folder where the shim has it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
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
    PRE_TOOL_CHOICE,
    PRE_TOOLS,
    TEXT_INPUT,
)
from qwen_triton.tensors.text_inputs import tool_choice_text
from qwen_triton.types import GenerateRequest

from ..backend.context_length import context_of
from ..bodies.body import read_model
from ..bodies.kinds import Objects, TokenIds
from ..bodies.plan import template_options
from ..errors import ApiError, Json, bad_request, to_api_error
from ..service import Service, service_of

router = APIRouter(tags=["tokens"])

_NAMES = {TEXT_INPUT: "prompt"}


class TokenizeRequest(BaseModel):
    """A text, or chat messages with template options. `add_special_tokens` is a hint: Qwen's tokenizers add none."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str | None = None
    prompt: str | None = None
    messages: Annotated[Objects, Field(min_length=1)] | None = None
    tools: Objects | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool = True
    add_special_tokens: bool | None = None


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
    tokens = _token_ids(outputs)
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


@router.get("/tokenizer_info", operation_id="tokenizer_info")
def tokenizer_info(request: Request) -> Json:
    """The tokenizer's class, named tokens, context and chat template, as vLLM has them for evaluation harnesses."""
    from qwen_triton.checkpoint.text_files import TokenizerFolder  # imports a library that no other endpoint needs

    folder = service_of(request).settings.tokenizer_dir
    if folder is None:
        message = "this shim knows no checkpoint's folder; its operator can set openai.tokenizer_dir"
        raise ApiError(404, message, code="no_tokenizer")
    found = TokenizerFolder(folder)
    return Json(
        {
            "tokenizer_class": found.tokenizer_class,
            "model_max_length": found.context_length,
            "chat_template": found.chat_templates.get("default"),
            "add_bos_token": False,
            **found.named_tokens,
        }
    )


def _check_model(name: str | None, service: Service) -> None:
    if name is not None:
        service.triton_model(name)


async def chat_token_ids(service: Service, chat: GenerateRequest, names: Mapping[str, str]) -> list[int]:
    """The prompt of a chat as token ids. `names`: the model's name of a parameter → the endpoint's. Raises ApiError."""
    arrays = _chat_arrays(chat.messages or (), chat.tools, chat.template_options)
    if choice := tool_choice_text(chat.tool_choice):
        arrays[PRE_TOOL_CHOICE] = _text(choice)
    outputs = await _infer(service, service.settings.preprocessing_model, arrays, names)
    return _token_ids(outputs)


async def _infer(service: Service, model: str, arrays: Arrays, names: Mapping[str, str] = _NAMES) -> dict[str, bytes]:
    try:
        return await service.backend.infer(model, arrays)
    except QwenTritonError as error:
        raise to_api_error(error, names) from error


def _token_ids(outputs: Mapping[str, bytes]) -> list[int]:
    return [int(i) for i in np.frombuffer(outputs[PRE_INPUT_ID], np.int32)]


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
    return _chat_arrays(body.messages or (), body.tools or (), options)


def _chat_arrays(messages: Sequence[Any], tools: Sequence[Any], options: Mapping[str, Any]) -> dict[str, Array]:
    """Inputs of the preprocessing model."""
    return {
        PRE_MESSAGES: _text(json.dumps(messages, ensure_ascii=False)),
        PRE_TOOLS: _text(json.dumps(tools, ensure_ascii=False)),
        PRE_CHAT_TEMPLATE_KWARGS: _text(json.dumps(options, ensure_ascii=False)),
    }


def _text(value: str) -> Array:
    return np.array([[value.encode()]], np.object_)
