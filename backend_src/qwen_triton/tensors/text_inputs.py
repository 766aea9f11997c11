"""Inputs of the text models (BLS and ensemble): GenerateRequests from arrays, and the arrays of one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
    GUIDED_DECODING_GUIDE,
    GUIDED_DECODING_GUIDE_TYPE,
    IGNORE_EOS,
    INCLUDE_STOP_STR_IN_OUTPUT,
    INPUT_IDS,
    LOGIT_BIAS,
    LORA_CONFIG,
    LORA_NAME,
    LORA_TASK_ID,
    LORA_WEIGHTS,
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
from .sampling import TEXT_SAMPLING_INPUTS, decode_text_sampling, encode_text_sampling


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


def _decode_stop(row: Row) -> StopConditions:
    return StopConditions(
        row.texts(STOP_WORDS),
        tuple(row.values(STOP_TOKEN_IDS) or ()),
        row.flag(INCLUDE_STOP_STR_IN_OUTPUT) or False,
        row.flag(IGNORE_EOS) or False,
    )


def _not(value: bool | None) -> bool | None:
    return None if value is None else not value


_FIELDS: Sequence[tuple[frozenset[str], str, Callable[[Row], Any]]] = tuple(
    (frozenset(tensors), name, decode)
    for tensors, name, decode in (
        ((TOOLS,), "tools", lambda row: tuple(row.json(TOOLS, list) or ())),
        ((TOOL_CHOICE,), "tool_choice", decode_tool_choice),
        ((CHAT_TEMPLATE_KWARGS,), "template_options", lambda row: row.json(CHAT_TEMPLATE_KWARGS, dict) or {}),
        ((PROMPT_FORMAT,), "prompt_format", decode_prompt_format),
        (TEXT_SAMPLING_INPUTS, "sampling", decode_text_sampling),
        ((STOP_WORDS, STOP_TOKEN_IDS, INCLUDE_STOP_STR_IN_OUTPUT, IGNORE_EOS), "stop", _decode_stop),
        ((BAD_WORDS, EMBEDDING_BIAS_WORDS, EMBEDDING_BIAS_WEIGHTS, LOGIT_BIAS), "bias", decode_bias),
        ((END_ID,), "end_id", lambda row: row.scalar(END_ID)),
        ((PAD_ID,), "pad_id", lambda row: row.scalar(PAD_ID)),
        ((STREAM,), "stream", lambda row: row.flag(STREAM)),
        ((RETURN_NUM_OUTPUT_TOKENS,), "count_pieces", lambda row: row.flag(RETURN_NUM_OUTPUT_TOKENS)),
        ((RETURN_NUM_INPUT_TOKENS,), "count_first", lambda row: row.flag(RETURN_NUM_INPUT_TOKENS)),
        ((RETURN_NUM_INPUT_TOKENS,), "counts_input", lambda row: row.flag(RETURN_NUM_INPUT_TOKENS)),
        ((RETURN_NUM_OUTPUT_TOKENS,), "counts_output", lambda row: row.flag(RETURN_NUM_OUTPUT_TOKENS)),
        ((CLAMP_MAX_TOKENS,), "clamp_max_tokens", lambda row: row.flag(CLAMP_MAX_TOKENS)),
        ((PARALLEL_TOOL_CALLS,), "parallel_tool_calls", lambda row: row.flag(PARALLEL_TOOL_CALLS)),
        ((GUIDED_DECODING_GUIDE_TYPE, GUIDED_DECODING_GUIDE), "form", decode_form),
        ((RETURN_TOKEN_IDS,), "return_token_ids", lambda row: row.flag(RETURN_TOKEN_IDS)),
        ((ACCUMULATE_TOKENS,), "accumulate", lambda row: row.flag(ACCUMULATE_TOKENS)),
        ((LORA_NAME,), "lora_name", lambda row: row.text(LORA_NAME) or None),
        ((LORA_TASK_ID, LORA_WEIGHTS, LORA_CONFIG), "lora_task", decode_lora),
        ((RETURN_PERF_METRICS,), "perf_metrics", lambda row: row.flag(RETURN_PERF_METRICS)),
    )
)
"""The tensors of a field of GenerateRequest and how they are read, in the order in which faults are told. A field none of
whose tensors was sent keeps its default; most requests have four of some fifty tensors."""


def _decode_row(row: Row) -> GenerateRequest:
    refuse_unsupported(row, REFUSED_TEXT_INPUTS)
    messages = row.json(MESSAGES, list)
    ids = row.values(INPUT_IDS)
    text = row.text(TEXT_INPUT)
    echo = _not(row.flag(EXCLUDE_INPUT_IN_OUTPUT))
    sent = row.names
    fields = {name: decode(row) for tensors, name, decode in _FIELDS if not sent.isdisjoint(tensors)}
    return GenerateRequest(
        prompt=text if text or (messages is None and ids is None) else None,
        messages=None if messages is None else tuple(messages),
        token_ids=None if ids is None else tuple(ids),
        echo=echo,
        **fields,
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
