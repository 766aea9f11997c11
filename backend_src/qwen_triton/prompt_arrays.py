"""The preprocessing model's arrays: prompts in, token ids and word lists out, under stock's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .tensors import Array, Arrays, Row, count_rows, decode_prompt_format, encode_strings, pair_words
from .token_arrays import encode_word_list
from .types import GenerateRequest, SamplingParams, StopConditions, TokenBias


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """What preprocessing found out about one prompt; `end_id` -1 = never end, `bias` by token id."""

    token_ids: tuple[int, ...]
    max_tokens: int
    end_id: int
    pad_id: int
    stop_words: tuple[tuple[int, ...], ...]
    stop_strings: tuple[str, ...]
    bad_words: tuple[tuple[int, ...], ...]
    bias: dict[int, float]


def decode_prompts(arrays: Arrays) -> list[GenerateRequest]:
    """One request a row, as far as preprocessing needs it. Raises InvalidRequest naming the tensor."""
    return [_decode_row(Row(arrays, r)) for r in range(count_rows(arrays))]


def _decode_row(row: Row) -> GenerateRequest:
    messages, text = row.json("MESSAGES", list), row.text("QUERY")
    words, weights = row.texts("EMBEDDING_BIAS_WORDS"), row.values("EMBEDDING_BIAS_WEIGHTS") or []
    return GenerateRequest(
        prompt=text if text or messages is None else None,
        messages=None if messages is None else tuple(messages),
        tools=tuple(row.json("TOOLS", list) or ()),
        template_options=row.json("CHAT_TEMPLATE_KWARGS", dict) or {},
        prompt_format=decode_prompt_format(row, "PROMPT_FORMAT"),
        sampling=SamplingParams(max_tokens=row.scalar("REQUEST_OUTPUT_LEN")),
        stop=StopConditions(
            row.texts("STOP_WORDS_DICT"),
            tuple(row.values("STOP_TOKEN_IDS") or ()),
            ignore_eos=row.flag("IGNORE_EOS") or False,
        ),
        bias=TokenBias(row.texts("BAD_WORDS_DICT"), pair_words(words, weights, "EMBEDDING_BIAS_WEIGHTS")),
        end_id=row.scalar("END_ID"),
        pad_id=row.scalar("PAD_ID"),
    )


def encode_prompts(prompts: Sequence[EncodedPrompt], vocab_size: int) -> dict[str, Array]:
    """All outputs of the preprocessing model. Inputs are padded at the end with the row's pad id."""
    rows = len(prompts)
    longest = max(len(p.token_ids) for p in prompts)
    ids = [[*p.token_ids, *[p.pad_id] * (longest - len(p.token_ids))] for p in prompts]
    strings = max(len(p.stop_strings) for p in prompts)
    return {
        "INPUT_ID": np.array(ids, dtype=np.int32),
        "REQUEST_INPUT_LEN": np.array([[len(p.token_ids)] for p in prompts], dtype=np.int32),
        "DECODER_INPUT_ID": np.array([[p.pad_id] for p in prompts], dtype=np.int32),
        "REQUEST_DECODER_INPUT_LEN": np.ones((rows, 1), dtype=np.int32),
        "BAD_WORDS_IDS": encode_word_list([p.bad_words for p in prompts]),
        "STOP_WORDS_IDS": encode_word_list([p.stop_words for p in prompts]),
        "EMBEDDING_BIAS": _encode_bias(prompts, vocab_size),
        "REQUEST_OUTPUT_LEN": np.array([[p.max_tokens] for p in prompts], dtype=np.int32),
        "OUT_END_ID": np.array([[p.end_id] for p in prompts], dtype=np.int32),
        "OUT_PAD_ID": np.array([[p.pad_id] for p in prompts], dtype=np.int32),
        "OUT_PROMPT_TABLE_EXTRA_IDS": np.zeros((rows, 0), dtype=np.uint64),
        "STOP_WORDS": encode_strings([[*p.stop_strings, *[""] * (strings - len(p.stop_strings))] for p in prompts]),
    }


def _encode_bias(prompts: Sequence[EncodedPrompt], vocab_size: int) -> Array:
    """[rows, vocabulary], or [rows, 0] when no prompt has a bias, as stock sends it."""
    if not any(p.bias for p in prompts):
        return np.zeros((len(prompts), 0), dtype=np.float32)
    array = np.zeros((len(prompts), vocab_size), dtype=np.float32)
    for r, prompt in enumerate(prompts):
        for token, weight in prompt.bias.items():
            array[r, token] = weight
    return array
