"""The text models' input arrays as GenerateRequests and back: `decode_generate` reads what `encode_generate` writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidRequest
from ..types import GenerateRequest, SamplingParams, StopConditions, TokenBias
from .arrays import NUMPY, Array, Arrays
from .contract import BLS_INPUTS
from .rows import (
    Row,
    decode_counts,
    decode_logprobs,
    decode_prompt_format,
    decode_rows,
    first_given,
    pair_words,
    refuse_unsupported,
)

REFUSED = {
    "decoder_text_input": "Qwen has no encoder-decoder form",
    "image_input": "images are not supported by this model",
    "prompt_embedding_table": "prompt tuning is not supported",
    "prompt_vocab_size": "prompt tuning is not supported",
    "prompt_table_extra_id": "prompt tuning is not supported",
    "num_draft_tokens": "speculative decoding with a draft model is not supported",
    "use_draft_logits": "speculative decoding with a draft model is not supported",
    "return_context_logits": "logits are not returned; use return_log_probs",
    "return_generation_logits": "logits are not returned; use return_log_probs",
}


def decode_sampling(row: Row) -> SamplingParams:
    """Sampling parameters as a text model's tensors spell them."""
    sequences, beam_width = decode_counts(row)
    return SamplingParams(
        max_tokens=row.scalar("max_tokens"),
        min_tokens=first_given(row, "min_tokens", "min_length") or 0,
        temperature=row.scalar("temperature"),
        top_k=row.scalar("top_k"),
        top_p=row.scalar("top_p"),
        min_p=row.scalar("min_p"),
        repetition_penalty=row.scalar("repetition_penalty"),
        presence_penalty=row.scalar("presence_penalty"),
        frequency_penalty=row.scalar("frequency_penalty"),
        length_penalty=row.scalar("length_penalty"),
        seed=first_given(row, "seed", "random_seed"),
        logprobs=decode_logprobs(row),
        n=sequences,
        best_of=row.scalar("best_of"),
        beam_width=beam_width,
    )


def decode_bias(row: Row) -> TokenBias:
    """Bad words, biased words (stock) and biased token ids (`logit_bias`, a JSON object)."""
    words, weights = row.texts("embedding_bias_words"), row.values("embedding_bias_weights") or []
    ids = row.json("logit_bias", dict) or {}
    try:
        by_id = {int(k): float(v) for k, v in ids.items()}
    except (TypeError, ValueError):
        raise InvalidRequest("expected an object from token id to number", "logit_bias") from None
    return TokenBias(row.texts("bad_words"), pair_words(words, weights, "embedding_bias_weights"), by_id)


def decode_generate(arrays: Arrays) -> list[GenerateRequest]:
    """A text model's input arrays as one request a row. Raises InvalidRequest naming the tensor (and the row)."""
    return decode_rows(arrays, _decode_row)


def _decode_row(row: Row) -> GenerateRequest:
    refuse_unsupported(row, REFUSED)
    messages = row.json("messages", list)
    ids = row.values("input_ids")
    text = row.text("text_input")
    exclude = row.flag("exclude_input_in_output")
    return GenerateRequest(
        prompt=text if text or (messages is None and ids is None) else None,
        messages=None if messages is None else tuple(messages),
        token_ids=None if ids is None else tuple(ids),
        tools=tuple(row.json("tools", list) or ()),
        template_options=row.json("chat_template_kwargs", dict) or {},
        prompt_format=decode_prompt_format(row),
        sampling=decode_sampling(row),
        stop=StopConditions(
            row.texts("stop_words"),
            tuple(row.values("stop_token_ids") or ()),
            row.flag("include_stop_str_in_output") or False,
            row.flag("ignore_eos") or False,
        ),
        bias=decode_bias(row),
        end_id=row.scalar("end_id"),
        pad_id=row.scalar("pad_id"),
        stream=row.flag("stream") or False,
        count_pieces=row.flag("return_num_output_tokens") or False,
        accumulate=row.flag("accumulate_tokens"),
        echo=None if exclude is None else not exclude,
    )


def encode_generate(request: GenerateRequest) -> dict[str, Array]:
    """A request as a text model's input arrays, one row; what is at its default is left out."""
    values: dict[str, Any] = {
        "text_input": request.prompt,
        "messages": _dump(request.messages),
        "input_ids": request.token_ids,
        "tools": _dump(request.tools),
        "chat_template_kwargs": _dump(request.template_options),
        "prompt_format": request.prompt_format,
        "stop_words": request.stop.strings,
        "stop_token_ids": request.stop.token_ids,
        "include_stop_str_in_output": request.stop.include_in_output or None,
        "ignore_eos": request.stop.ignore_eos or None,
        "bad_words": request.bias.bad_words,
        "embedding_bias_words": [w for w, _ in request.bias.words],
        "embedding_bias_weights": [b for _, b in request.bias.words],
        "logit_bias": _dump({str(k): v for k, v in request.bias.token_ids.items()}),
        "end_id": request.end_id,
        "pad_id": request.pad_id,
        "stream": request.stream or None,
        "return_num_output_tokens": request.count_pieces or None,
        "accumulate_tokens": request.accumulate,
        "exclude_input_in_output": None if request.echo is None else not request.echo,
        **_sampling_values(request.sampling),
    }
    return {name: array for name, value in values.items() if (array := encode_row(name, value)) is not None}


def _sampling_values(sampling: SamplingParams) -> dict[str, Any]:
    same = (
        "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty",
        "frequency_penalty", "length_penalty", "seed", "best_of",
    )  # fmt: skip
    return {name: getattr(sampling, name) for name in same} | {
        "min_tokens": sampling.min_tokens or None,
        "return_log_probs": True if sampling.logprobs is not None else None,
        "top_logprobs": sampling.logprobs or None,
        "num_return_sequences": sampling.n if sampling.n > 1 else None,
        "beam_width": sampling.beam_width if sampling.beam_width > 1 else None,
    }


def _dump(value: Sequence[Any] | Mapping[Any, Any] | None) -> str | None:
    return json.dumps(value, ensure_ascii=False) if value else None


_DTYPES = {tensor.name: tensor.dtype for tensor in BLS_INPUTS}


def encode_row(name: str, value: Any) -> Array | None:
    """One input of the text models as an array of one row; None for a value that is None or empty."""
    if value is None or (isinstance(value, (tuple, list)) and not value):
        return None
    values = list(value) if isinstance(value, (tuple, list)) else [value]
    dtype = NUMPY[_DTYPES[name]]
    if dtype is np.object_:
        values = [v.encode() for v in values]
    return np.array([values], dtype=dtype)
