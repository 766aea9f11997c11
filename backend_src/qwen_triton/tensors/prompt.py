"""The preprocessing model's arrays: prompts in, token ids and word lists out, under stock's names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..types import GenerateRequest, SamplingParams, StopConditions, TokenBias
from .arrays import Array, Arrays, encode_strings, encode_word_list
from .contract import REFUSED_TEXT_INPUTS, TEXT_NAMES
from .rows import Row, decode_prompt_format, decode_rows, pair_words, refuse_unsupported


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
    """One request a row, as far as preprocessing needs it. Raises InvalidRequest with the text models' name of a tensor."""
    return decode_rows({TEXT_NAMES[name]: array for name, array in arrays.items()}, _decode_row)


def _decode_row(row: Row) -> GenerateRequest:
    refuse_unsupported(row, REFUSED_TEXT_INPUTS)
    messages, text = row.json("messages", list), row.text("text_input")
    words, weights = row.texts("embedding_bias_words"), row.values("embedding_bias_weights") or []
    return GenerateRequest(
        prompt=text if text or messages is None else None,
        messages=None if messages is None else tuple(messages),
        tools=tuple(row.json("tools", list) or ()),
        template_options=row.json("chat_template_kwargs", dict) or {},
        prompt_format=decode_prompt_format(row),
        sampling=SamplingParams(max_tokens=row.scalar("max_tokens")),
        stop=StopConditions(
            row.texts("stop_words"),
            tuple(row.values("stop_token_ids") or ()),
            ignore_eos=row.flag("ignore_eos") or False,
        ),
        bias=TokenBias(row.texts("bad_words"), pair_words(words, weights, "embedding_bias_weights")),
        end_id=row.scalar("end_id"),
        pad_id=row.scalar("pad_id"),
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
