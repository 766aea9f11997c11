"""Requests to an engine model that is not ours, and its answers: stock's tensor contract from the caller's side.

Answers are read from raw bytes, as they come over the wire: one is read for each token.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np

from ..errors import InvalidRequest
from ..types import EngineRequest, FinishReason, SamplingParams, TokenChunk
from .arrays import encode_word_list
from .contract import ENGINE_INPUTS
from .tensor import NUMPY, Array

OUTPUTS = ("output_ids", "sequence_length")
"""What the C++ backend must be asked for; without either it fails."""
LOG_PROB_OUTPUTS = ("output_log_probs", "cum_log_probs")

_DTYPE = {t.name: NUMPY.get(t.dtype) for t in ENGINE_INPUTS}
_ALIASES = {"random_seed": "seed", "min_length": "min_tokens"}
"""Names of the same input before and after TensorRT-LLM 0.20; a model declares one or both."""


def encode_engine_request(
    request: EngineRequest, declared: Collection[str], streaming: bool, vocab_size: int
) -> dict[str, Array]:
    """The arrays of one sequence. Raises InvalidRequest for what the model does not declare."""
    prompt = np.array([request.token_ids], dtype=np.int32)
    arrays: dict[str, Array] = {"input_ids": prompt, "input_lengths": _row("input_lengths", prompt.shape[1])}
    ends = (*request.end_ids[1:], *request.stop_token_ids)
    words = (*((i,) for i in ends), *request.stop_sequences)
    values = {
        "request_output_len": request.sampling.max_tokens,
        "end_id": request.end_ids[0] if request.end_ids else -1,
        "pad_id": request.pad_id,
        "streaming": streaming,
        "exclude_input_in_output": True,
        **_sampling(request.sampling),
    }
    arrays |= {name: _row(name, value) for name, value in values.items() if value is not None}
    arrays |= {"stop_words_list": encode_word_list([words])} if words else {}
    arrays |= {"bad_words_list": encode_word_list([request.bad_words])} if request.bad_words else {}
    arrays |= {"embedding_bias": _bias(request.bias, vocab_size)} if request.bias else {}
    return _spelled(arrays, declared)


def encode_stop_request() -> dict[str, Array]:
    """The arrays of stock's way to cancel; the request id says which request."""
    values = {"input_lengths": 1, "request_output_len": 1, "stop": True}
    return {"input_ids": np.zeros((1, 1), np.int32), **{name: _row(name, value) for name, value in values.items()}}


def _sampling(sampling: SamplingParams) -> dict[str, Any]:
    common = {
        "random_seed": sampling.seed,
        "min_length": sampling.min_tokens or None,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "len_penalty": sampling.length_penalty,
        "return_log_probs": True if sampling.logprobs is not None else None,
        "beam_width": sampling.beam_width if sampling.beam_width > 1 else None,
    }
    if sampling.greedy:
        return {**common, "runtime_top_k": 1}
    return {
        **common,
        "temperature": sampling.temperature,
        "runtime_top_k": sampling.top_k or 0,
        "runtime_top_p": 1.0 if sampling.top_p is None else sampling.top_p,
    }


def _row(name: str, value: Any) -> Array:
    return np.array([[value]], dtype=_DTYPE[name])


def _bias(bias: Mapping[int, float], vocab_size: int) -> Array:
    array = np.zeros((1, vocab_size), dtype=np.float32)
    for token, weight in bias.items():
        array[0, token] = weight
    return array


def _spelled(arrays: dict[str, Array], declared: Collection[str]) -> dict[str, Array]:
    """Under every name that the model declares for an input."""
    spelled = {}
    for name, array in arrays.items():
        names = [n for n in (name, _ALIASES.get(name, name)) if n in declared]
        if not names:
            raise InvalidRequest("the engine model does not take it", name)
        spelled.update(dict.fromkeys(names, array))
    return spelled


def decode_token_ids(outputs: Mapping[str, bytes]) -> list[int]:
    """The ids of a response with one sequence. Hot."""
    ids: list[int] = memoryview(outputs["output_ids"]).cast("i").tolist()
    length = int.from_bytes(outputs["sequence_length"], "little")
    return ids if length == len(ids) else ids[:length]


def decode_beams(outputs: Mapping[str, bytes]) -> list[TokenChunk]:
    """What one response holds: a chunk for each beam with its log probs where it has them, none of them final."""
    lengths = memoryview(outputs["sequence_length"]).cast("i").tolist()
    beams = len(lengths)
    ids = _rows(outputs["output_ids"], "i", beams)
    log_probs = _rows(outputs.get("output_log_probs", b""), "f", beams)
    totals: list[Any] = memoryview(outputs.get("cum_log_probs", b"")).cast("f").tolist() or [None] * beams
    return [
        TokenChunk(row[:length], probs[:length], sequence=n, cum_log_prob=total, last=n == beams - 1)
        for n, (row, length, probs, total) in enumerate(zip(ids, lengths, log_probs, totals, strict=False))
    ]


def _rows(raw: bytes, form: Literal["i", "f"], rows: int) -> list[list[Any]]:
    """Numbers of a tensor as so many rows."""
    values: list[Any] = memoryview(raw).cast(form).tolist()
    size = len(values) // rows
    return [values[n * size : (n + 1) * size] for n in range(rows)]


def finish_reason(tokens: int, max_tokens: int | None) -> FinishReason:
    """Why a sequence ended, which the C++ backend does not say: by its length, or before."""
    return "length" if max_tokens is not None and tokens >= max_tokens else "stop"
