"""Inputs of the text models (BLS and ensemble): GenerateRequests from arrays, and the arrays of one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidRequest
from ..types import GenerateRequest, StopConditions, TokenBias, ToolChoice
from .arrays import NUMPY, Array, Arrays
from .contract import (
    ACCUMULATE_TOKENS,
    BAD_WORDS,
    BLS_INPUTS,
    CHAT_TEMPLATE_KWARGS,
    CLAMP_MAX_TOKENS,
    EMBEDDING_BIAS_WEIGHTS,
    EMBEDDING_BIAS_WORDS,
    END_ID,
    EXCLUDE_INPUT_IN_OUTPUT,
    IGNORE_EOS,
    INCLUDE_STOP_STR_IN_OUTPUT,
    INPUT_IDS,
    LOGIT_BIAS,
    LORA_NAME,
    MESSAGES,
    PAD_ID,
    PARALLEL_TOOL_CALLS,
    PROMPT_FORMAT,
    REFUSED_TEXT_INPUTS,
    RETURN_NUM_INPUT_TOKENS,
    RETURN_NUM_OUTPUT_TOKENS,
    RETURN_PERF_METRICS,
    RETURN_TOKEN_IDS,
    STOP_TOKEN_IDS,
    STOP_WORDS,
    STREAM,
    TEXT_INPUT,
    TOOL_CHOICE,
    TOOLS,
)
from .engine_inputs import decode_lora, encode_lora
from .rows import (
    Row,
    decode_form,
    decode_prompt_format,
    decode_rows,
    decode_tool_choice,
    encode_form,
    pair_words,
    refuse_unsupported,
)
from .sampling import decode_text_sampling, encode_text_sampling


def decode_bias(row: Row) -> TokenBias:
    """Bad words, biased words (stock's two inputs) and biased token ids (`logit_bias`, a JSON object).

    Raises InvalidRequest for weights that do not match the words, or keys and values that are no numbers.
    """
    words, weights = row.texts(EMBEDDING_BIAS_WORDS), row.values(EMBEDDING_BIAS_WEIGHTS) or []
    ids = row.json(LOGIT_BIAS, dict) or {}
    try:
        by_id = {int(k): float(v) for k, v in ids.items()}
    except (TypeError, ValueError):
        raise InvalidRequest("expected an object from token id to number", LOGIT_BIAS) from None
    return TokenBias(row.texts(BAD_WORDS), pair_words(words, weights, EMBEDDING_BIAS_WEIGHTS), by_id)


def decode_generate(arrays: Arrays) -> list[GenerateRequest]:
    """One request for each row of a text model's arrays [rows, n]. Raises InvalidRequest with the tensor's name (and row)."""
    return decode_rows(arrays, _decode_row)


def _decode_row(row: Row) -> GenerateRequest:
    refuse_unsupported(row, REFUSED_TEXT_INPUTS)
    messages = row.json(MESSAGES, list)
    ids = row.values(INPUT_IDS)
    text = row.text(TEXT_INPUT)
    exclude = row.flag(EXCLUDE_INPUT_IN_OUTPUT)
    return GenerateRequest(
        prompt=text if text or (messages is None and ids is None) else None,
        messages=None if messages is None else tuple(messages),
        token_ids=None if ids is None else tuple(ids),
        tools=tuple(row.json(TOOLS, list) or ()),
        tool_choice=decode_tool_choice(row),
        template_options=row.json(CHAT_TEMPLATE_KWARGS, dict) or {},
        prompt_format=decode_prompt_format(row),
        sampling=decode_text_sampling(row),
        stop=StopConditions(
            row.texts(STOP_WORDS),
            tuple(row.values(STOP_TOKEN_IDS) or ()),
            row.flag(INCLUDE_STOP_STR_IN_OUTPUT) or False,
            row.flag(IGNORE_EOS) or False,
        ),
        bias=decode_bias(row),
        end_id=row.scalar(END_ID),
        pad_id=row.scalar(PAD_ID),
        stream=row.flag(STREAM) or False,
        count_pieces=row.flag(RETURN_NUM_OUTPUT_TOKENS) or False,
        count_first=row.flag(RETURN_NUM_INPUT_TOKENS) or False,
        counts_input=row.flag(RETURN_NUM_INPUT_TOKENS) is not False,
        counts_output=row.flag(RETURN_NUM_OUTPUT_TOKENS) is not False,
        clamp_max_tokens=row.flag(CLAMP_MAX_TOKENS) or False,
        parallel_tool_calls=row.flag(PARALLEL_TOOL_CALLS) is not False,
        form=decode_form(row),
        return_token_ids=row.flag(RETURN_TOKEN_IDS) or False,
        accumulate=row.flag(ACCUMULATE_TOKENS),
        echo=None if exclude is None else not exclude,
        lora_name=row.text(LORA_NAME) or None,
        lora_task=decode_lora(row),
        perf_metrics=row.flag(RETURN_PERF_METRICS) or False,
    )


def encode_generate(request: GenerateRequest) -> dict[str, Array]:
    """A request as a text model's input arrays [1, n], without the inputs that are at their default.

    The inverse of decode_generate.
    """
    values: dict[str, Any] = {
        TEXT_INPUT: request.prompt,
        MESSAGES: _dump(request.messages),
        INPUT_IDS: request.token_ids,
        TOOLS: _dump(request.tools),
        TOOL_CHOICE: tool_choice_text(request.tool_choice),
        CHAT_TEMPLATE_KWARGS: _dump(request.template_options),
        PROMPT_FORMAT: request.prompt_format,
        STOP_WORDS: request.stop.strings,
        STOP_TOKEN_IDS: request.stop.token_ids,
        INCLUDE_STOP_STR_IN_OUTPUT: request.stop.include_in_output or None,
        IGNORE_EOS: request.stop.ignore_eos or None,
        BAD_WORDS: request.bias.bad_words,
        EMBEDDING_BIAS_WORDS: [w for w, _ in request.bias.words],
        EMBEDDING_BIAS_WEIGHTS: [b for _, b in request.bias.words],
        LOGIT_BIAS: _dump({str(k): v for k, v in request.bias.token_ids.items()}),
        END_ID: request.end_id,
        PAD_ID: request.pad_id,
        STREAM: request.stream or None,
        RETURN_NUM_INPUT_TOKENS: (request.count_first or None) if request.counts_input else False,
        RETURN_NUM_OUTPUT_TOKENS: (request.count_pieces or None) if request.counts_output else False,
        CLAMP_MAX_TOKENS: request.clamp_max_tokens or None,
        PARALLEL_TOOL_CALLS: None if request.parallel_tool_calls else False,
        RETURN_TOKEN_IDS: request.return_token_ids or None,
        ACCUMULATE_TOKENS: request.accumulate,
        EXCLUDE_INPUT_IN_OUTPUT: None if request.echo is None else not request.echo,
        **encode_form(request.form),
        LORA_NAME: request.lora_name or None,
        RETURN_PERF_METRICS: request.perf_metrics or None,
        **encode_text_sampling(request.sampling),
    }
    arrays = {name: array for name, value in values.items() if (array := encode_row(name, value)) is not None}
    return arrays | encode_lora(request.lora_task)


def _dump(value: Sequence[Any] | Mapping[Any, Any] | None) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


def tool_choice_text(choice: ToolChoice) -> str | None:
    """`tool_choice` as the models take it: a word, or JSON; None for auto, which is the same as none sent."""
    if choice.mode == "auto":
        return None
    return choice.value if isinstance(choice.value, str) else json.dumps(choice.value, ensure_ascii=False)


_DTYPES = {tensor.name: tensor.dtype for tensor in BLS_INPUTS}


def encode_row(name: str, value: Any) -> Array | None:
    """One input of the text models as an array [1, n] of the tensor's type; None for a value that is None or empty."""
    if value is None or (isinstance(value, (tuple, list)) and not value):
        return None
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    dtype = NUMPY[_DTYPES[name]]
    if dtype is np.object_:
        values = [v.encode() for v in values]
    return np.array([values], dtype=dtype)
