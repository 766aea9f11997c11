"""Arrays of the preprocessing model: prompts in, token ids and word lists out, under stock's names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..types import EngineRequest, GenerateRequest, SamplingParams, StopConditions, TokenBias
from .arrays import Array, Arrays, encode_strings, encode_word_list
from .contract import (
    CHAT_TEMPLATE_KWARGS,
    EMBEDDING_BIAS_WEIGHTS,
    EMBEDDING_BIAS_WORDS,
    END_ID,
    IGNORE_EOS,
    MESSAGES,
    PAD_ID,
    PRE_BAD_WORDS_IDS,
    PRE_DECODER_INPUT_ID,
    PRE_EMBEDDING_BIAS,
    PRE_INPUT_ID,
    PRE_OUT_END_ID,
    PRE_OUT_PAD_ID,
    PRE_OUT_PROMPT_TABLE_EXTRA_IDS,
    PRE_REQUEST_DECODER_INPUT_LEN,
    PRE_REQUEST_INPUT_LEN,
    PRE_REQUEST_OUTPUT_LEN,
    PRE_STOP_WORDS,
    PRE_STOP_WORDS_IDS,
    REFUSED_TEXT_INPUTS,
    STOP_TOKEN_IDS,
    STOP_WORDS,
    TEXT_INPUT,
    TEXT_NAMES,
    TOOLS,
)
from .engine_inputs import stop_words
from .rows import Row, decode_prompt_format, decode_rows, decode_tool_choice, pair_words, refuse_unsupported


def decode_prompts(arrays: Arrays) -> list[GenerateRequest]:
    """One request for each row of arrays [rows, n], as far as preprocessing needs it.

    Raises InvalidRequest with the text models' name of a tensor.
    """
    return decode_rows({TEXT_NAMES[name]: array for name, array in arrays.items()}, _decode_row)


def _decode_row(row: Row) -> GenerateRequest:
    refuse_unsupported(row, REFUSED_TEXT_INPUTS)
    messages, text = row.json(MESSAGES, list), row.text(TEXT_INPUT)
    words, weights = row.texts(EMBEDDING_BIAS_WORDS), row.values(EMBEDDING_BIAS_WEIGHTS) or []
    return GenerateRequest(
        prompt=text if text or messages is None else None,
        messages=None if messages is None else tuple(messages),
        tools=tuple(row.json(TOOLS, list) or ()),
        tool_choice=decode_tool_choice(row),
        template_options=row.json(CHAT_TEMPLATE_KWARGS, dict) or {},
        prompt_format=decode_prompt_format(row),
        sampling=SamplingParams(max_tokens=row.scalar("max_tokens")),
        stop=StopConditions(
            row.texts(STOP_WORDS),
            tuple(row.values(STOP_TOKEN_IDS) or ()),
            ignore_eos=row.flag(IGNORE_EOS) or False,
        ),
        bias=TokenBias(row.texts("bad_words"), pair_words(words, weights, EMBEDDING_BIAS_WEIGHTS)),
        end_id=row.scalar(END_ID),
        pad_id=row.scalar(PAD_ID),
    )


def encode_prompts(
    requests: Sequence[EngineRequest], stop_strings: Sequence[Sequence[str]], vocab_size: int
) -> dict[str, Array]:
    """All outputs of the preprocessing model, a row for each request; `stop_strings` are those of the same row.

    INPUT_ID [rows, longest prompt] is padded at the end with the row's pad id; OUT_END_ID is -1 for an answer that no id
    ends, and further end ids are stop words of one token.
    """
    rows, longest = len(requests), max(len(r.token_ids) for r in requests)
    most_strings = max(map(len, stop_strings))
    ids = [[*r.token_ids, *[r.pad_id] * (longest - len(r.token_ids))] for r in requests]
    return {
        PRE_INPUT_ID: np.array(ids, dtype=np.int32),
        PRE_REQUEST_INPUT_LEN: _column([len(r.token_ids) for r in requests]),
        PRE_DECODER_INPUT_ID: _column([r.pad_id for r in requests]),
        PRE_REQUEST_DECODER_INPUT_LEN: np.ones((rows, 1), dtype=np.int32),
        PRE_BAD_WORDS_IDS: encode_word_list([r.bad_words for r in requests]),
        PRE_STOP_WORDS_IDS: encode_word_list([stop_words(r) for r in requests]),
        PRE_EMBEDDING_BIAS: _encode_bias(requests, vocab_size),
        PRE_REQUEST_OUTPUT_LEN: _column([r.sampling.max_tokens or 0 for r in requests]),
        PRE_OUT_END_ID: _column([r.end_ids[0] if r.end_ids else -1 for r in requests]),
        PRE_OUT_PAD_ID: _column([r.pad_id for r in requests]),
        PRE_OUT_PROMPT_TABLE_EXTRA_IDS: np.zeros((rows, 0), dtype=np.uint64),
        PRE_STOP_WORDS: encode_strings([[*s, *[""] * (most_strings - len(s))] for s in stop_strings]),
    }


def _column(values: Sequence[int]) -> Array:
    """[rows, 1]."""
    return np.array(values, dtype=np.int32).reshape(-1, 1)


def _encode_bias(requests: Sequence[EngineRequest], vocab_size: int) -> Array:
    """[rows, vocabulary], or [rows, 0] when no request has a bias, as stock sends it."""
    if not any(r.bias for r in requests):
        return np.zeros((len(requests), 0), dtype=np.float32)
    array = np.zeros((len(requests), vocab_size), dtype=np.float32)
    for row, request in enumerate(requests):
        for token, weight in request.bias.items():
            array[row, token] = weight
    return array
