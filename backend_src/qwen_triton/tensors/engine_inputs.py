"""The engine model's input arrays as engine requests: stock's tensors, stock's meaning, for engines of ours."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidRequest
from ..types import EngineRequest, SamplingParams, StopConditions
from .arrays import NUMPY, Array, Arrays, decode_word_list, encode_word_list
from .contract import ENGINE_INPUTS
from .rows import Row, count_rows, decode_counts, decode_logprobs, first_given, refuse_unsupported

_REFUSED = {
    "draft_input_ids": "speculative decoding with draft tokens is not supported",
    "draft_logits": "speculative decoding with draft tokens is not supported",
    "draft_acceptance_threshold": "speculative decoding with draft tokens is not supported",
    "runtime_top_p_min": "top-p decay is not supported",
    "runtime_top_p_decay": "top-p decay is not supported",
    "runtime_top_p_reset_ids": "top-p decay is not supported",
    "early_stopping": "beam search always runs to its end here",
    "beam_search_diversity_rate": "diverse beam search is not supported",
    "return_context_logits": "logits are not returned; use return_log_probs",
    "return_generation_logits": "logits are not returned; use return_log_probs",
    "prompt_embedding_table": "prompt tuning is not supported",
    "prompt_table_extra_ids": "prompt tuning is not supported",
    "prompt_vocab_size": "prompt tuning is not supported",
    "lora_task_id": "LoRA is not supported by this engine",
    "lora_weights": "LoRA is not supported by this engine",
    "lora_config": "LoRA is not supported by this engine",
    "context_phase_params": "disaggregated serving is not supported",
}


_DTYPE = {t.name: NUMPY.get(t.dtype) for t in ENGINE_INPUTS}
_ALIASES = {"random_seed": "seed", "min_length": "min_tokens"}
"""Names of the same input before and after TensorRT-LLM 0.20; a model declares one or both."""


def wants_stop(arrays: Arrays) -> bool:
    """Whether this is stock's way to cancel: a request with the id of a running one and `stop` = true."""
    return "stop" in arrays and bool(arrays["stop"].any())


def is_streamed(arrays: Arrays) -> bool:
    return "streaming" in arrays and bool(arrays["streaming"].any())


def decode_engine(arrays: Arrays, *, echo: bool) -> list[EngineRow]:
    """One EngineRow a row. Raises InvalidRequest naming the tensor. `echo`: the model's exclude_input_in_output, negated."""
    rows = count_rows(arrays)
    none: list[tuple[tuple[int, ...], ...]] = [()] * rows
    stop_words, bad_words = (
        decode_word_list(arrays[n], n) if n in arrays else none for n in ("stop_words_list", "bad_words_list")
    )
    return [_decode_row(Row(arrays, r), stop_words[r], bad_words[r], echo) for r in range(rows)]


def _decode_row(
    row: Row, stop_words: tuple[tuple[int, ...], ...], bad_words: tuple[tuple[int, ...], ...], echo: bool
) -> EngineRow:
    refuse_unsupported(row, _REFUSED)
    ids, length = row.values("input_ids") or [], row.scalar("input_lengths")
    if not 1 <= length <= len(ids):
        raise InvalidRequest(f"is {length} where input_ids has {len(ids)}", "input_lengths")
    exclude = row.flag("exclude_input_in_output")
    end_id = row.scalar("end_id")
    single = tuple(word[0] for word in stop_words if len(word) == 1)
    request = EngineRequest(
        token_ids=tuple(ids[:length]),
        sampling=_decode_sampling(row),
        end_ids=(end_id,) if end_id is not None and end_id >= 0 else (),
        pad_id=row.scalar("pad_id") or 0,
        stop_token_ids=single,
        stop_sequences=tuple(word for word in stop_words if len(word) > 1),
        bad_words=bad_words,
        bias={i: w for i, w in enumerate(row.values("embedding_bias") or ()) if w},
        stream=row.flag("streaming") or False,
    )
    return EngineRow(
        request=request,
        stop=StopConditions(row.texts("stop_words"), single, row.flag("include_stop_str_in_output") or False),
        for_text=row.values("stop_words") is not None,
        echo=(echo if exclude is None else not exclude) and not request.stream,
        counts_input=row.flag("return_num_input_tokens") is not False,
        counts_output=row.flag("return_num_output_tokens") is not False,
    )


def _decode_sampling(row: Row) -> SamplingParams:
    sequences, beam_width = decode_counts(row)
    seed = first_given(row, "seed", "random_seed")
    return SamplingParams(
        max_tokens=row.scalar("request_output_len"),
        min_tokens=first_given(row, "min_tokens", "min_length") or 0,
        temperature=row.scalar("temperature"),
        top_k=row.scalar("runtime_top_k"),
        top_p=row.scalar("runtime_top_p"),
        min_p=row.scalar("min_p"),
        repetition_penalty=row.scalar("repetition_penalty"),
        presence_penalty=row.scalar("presence_penalty"),
        frequency_penalty=row.scalar("frequency_penalty"),
        length_penalty=row.scalar("len_penalty"),
        seed=secrets.randbits(63) if seed is None else seed,
        logprobs=decode_logprobs(row),
        n=sequences,
        beam_width=beam_width,
    )


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One row of an engine request. `for_text`: the ids go to postprocessing, not to the caller."""

    request: EngineRequest
    stop: StopConditions
    for_text: bool
    echo: bool
    counts_input: bool = True
    counts_output: bool = True


def encode_engine_request(
    request: EngineRequest, declared: Collection[str], streaming: bool, vocab_size: int
) -> dict[str, Array]:
    """The arrays of one sequence. Raises InvalidRequest for what the model does not declare."""
    prompt = np.array([request.token_ids], dtype=np.int32)
    arrays: dict[str, Array] = {"input_ids": prompt, "input_lengths": _row("input_lengths", prompt.shape[1])}
    words = stop_words(request)
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


def stop_words(request: EngineRequest) -> tuple[tuple[int, ...], ...]:
    """The stop words in token ids: end ids beside the first, which has a tensor of its own, stop ids, stop sequences."""
    return (*((i,) for i in (*request.end_ids[1:], *request.stop_token_ids)), *request.stop_sequences)


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
