"""Inputs of the engine model: decoded for engines of ours, encoded for NVIDIA's backend.

Names and meanings are stock's (tensorrtllm_backend v0.14.0), so the same ensemble serves both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidRequest
from ..types import EngineRequest, Form, LoraTask, StopConditions
from .arrays import NUMPY, Array, Arrays, decode_word_list, encode_raw, encode_strings, encode_word_list
from .contract import (
    BAD_WORDS_LIST,
    BOOL,
    EMBEDDING_BIAS,
    END_ID,
    ENGINE_ALIASES,
    ENGINE_INPUTS,
    EXCLUDE_INPUT_IN_OUTPUT,
    GUIDED_DECODING_GUIDE,
    GUIDED_DECODING_GUIDE_TYPE,
    INCLUDE_STOP_STR_IN_OUTPUT,
    INPUT_IDS,
    INPUT_LENGTHS,
    LORA_CONFIG,
    LORA_NAME,
    LORA_TASK_ID,
    LORA_WEIGHTS,
    PAD_ID,
    REFUSED_ENGINE_INPUTS,
    REQUEST_OUTPUT_LEN,
    RETURN_NUM_INPUT_TOKENS,
    RETURN_NUM_OUTPUT_TOKENS,
    RETURN_PERF_METRICS,
    STOP,
    STOP_WORDS,
    STOP_WORDS_LIST,
    STREAMING,
    Tensor,
)
from .rows import EBNF, Row, count_rows, decode_form, each_row, refuse_unsupported
from .sampling import decode_engine_sampling, encode_engine_sampling

_DTYPE = {t.name: NUMPY.get(t.dtype) for t in (*ENGINE_INPUTS, Tensor(RETURN_PERF_METRICS, BOOL))}
_WEIGHT, _MODULE = np.dtype("<f2"), np.dtype("<i4")


def decode_engine(arrays: Arrays, *, echo: bool) -> list[EngineRow]:
    """One EngineRow for each row of the arrays of shape [rows, …]. Raises InvalidRequest with the tensor's name (and row).

    `echo`: whether a request that does not say so gets its prompt's ids back (the model's exclude_input_in_output, negated).
    """
    rows = count_rows(arrays)
    none: list[tuple[tuple[int, ...], ...]] = [()] * rows
    stop_words, bad_words = (
        decode_word_list(arrays[n], n) if n in arrays else none for n in (STOP_WORDS_LIST, BAD_WORDS_LIST)
    )
    words = [(Row(arrays, r), stop_words[r], bad_words[r]) for r in range(rows)]
    return each_row(words, lambda row: _decode_row(*row, echo))


def _decode_row(
    row: Row, stop_words: tuple[tuple[int, ...], ...], bad_words: tuple[tuple[int, ...], ...], echo: bool
) -> EngineRow:
    refuse_unsupported(row, REFUSED_ENGINE_INPUTS)
    ids, length = row.values(INPUT_IDS) or [], row.scalar(INPUT_LENGTHS)
    if length is None:
        raise InvalidRequest("is missing; it is the number of the prompt's ids", INPUT_LENGTHS)
    if not 1 <= length <= len(ids):
        raise InvalidRequest(f"is {length} where input_ids has {len(ids)}", INPUT_LENGTHS)
    exclude = row.flag(EXCLUDE_INPUT_IN_OUTPUT)
    end_id = row.scalar(END_ID)
    single = tuple(word[0] for word in stop_words if len(word) == 1)
    request = EngineRequest(
        token_ids=tuple(ids[:length]),
        sampling=decode_engine_sampling(row),
        end_ids=(end_id,) if end_id is not None and end_id >= 0 else (),
        pad_id=row.scalar(PAD_ID) or 0,
        stop_token_ids=single,
        stop_sequences=tuple(word for word in stop_words if len(word) > 1),
        bad_words=bad_words,
        bias={i: w for i, w in enumerate(row.values(EMBEDDING_BIAS) or ()) if w},
        stream=row.flag(STREAMING) or False,
        lora_name=row.text(LORA_NAME) or None,
    )
    return EngineRow(
        request=request,
        stop=StopConditions(row.texts(STOP_WORDS), single, row.flag(INCLUDE_STOP_STR_IN_OUTPUT) or False),
        for_text=row.values(STOP_WORDS) is not None,
        echo=(echo if exclude is None else not exclude) and not request.stream,
        counts_input=row.flag(RETURN_NUM_INPUT_TOKENS) is not False,
        counts_output=row.flag(RETURN_NUM_OUTPUT_TOKENS) is not False,
        form=decode_form(row),
    )


@dataclass(frozen=True, slots=True)
class EngineRow:
    """One row of a request to the engine model. `for_text`: the ids go to postprocessing, not to the caller.

    `echo`: the answer begins with the prompt's ids. `counts_input`, `counts_output`: whether the answer has token counts.
    `form`: what the answer must look like, which is not yet in `request`.
    """

    request: EngineRequest
    stop: StopConditions
    for_text: bool
    echo: bool
    counts_input: bool = True
    counts_output: bool = True
    form: Form | None = None


def encode_engine_request(
    request: EngineRequest, declared: Collection[str], streaming: bool, vocab_size: int
) -> dict[str, Array]:
    """The arrays [1, …] of one sequence. Raises InvalidRequest for an input that the model does not declare.

    `declared`: the model's inputs. All ends but the first go as stop words, because there is one `end_id`. A bias is
    [1, vocab_size].
    """
    prompt = np.array([request.token_ids], dtype=np.int32)
    arrays: dict[str, Array] = {INPUT_IDS: prompt, INPUT_LENGTHS: _row(INPUT_LENGTHS, prompt.shape[1])}
    words = stop_words(request)
    values = {
        END_ID: request.end_ids[0] if request.end_ids else -1,
        PAD_ID: request.pad_id,
        STREAMING: streaming,
        EXCLUDE_INPUT_IN_OUTPUT: True,
        LORA_NAME: request.lora_name or None,
        RETURN_PERF_METRICS: request.perf_metrics or None,
        **encode_engine_sampling(request.sampling),
    }
    if request.grammar:
        values |= {GUIDED_DECODING_GUIDE_TYPE: EBNF.encode(), GUIDED_DECODING_GUIDE: request.grammar.encode()}
    arrays |= {name: _row(name, value) for name, value in values.items() if value is not None}
    arrays |= {STOP_WORDS_LIST: encode_word_list([words])} if words else {}
    arrays |= {BAD_WORDS_LIST: encode_word_list([request.bad_words])} if request.bad_words else {}
    arrays |= {EMBEDDING_BIAS: _bias(request.bias, vocab_size)} if request.bias else {}
    arrays |= encode_lora(request.lora_task)
    return _spelled(arrays, declared)


def stop_words(request: EngineRequest) -> tuple[tuple[int, ...], ...]:
    """The stop words in token ids: end ids beside the first, which has a tensor of its own, stop ids, stop sequences."""
    return (*((i,) for i in (*request.end_ids[1:], *request.stop_token_ids)), *request.stop_sequences)


def encode_stop_request() -> dict[str, Array]:
    """The arrays [1, 1] of a request that cancels another, which it names by its request id (stock's way)."""
    values = {INPUT_LENGTHS: 1, REQUEST_OUTPUT_LEN: 1, STOP: True}
    return {INPUT_IDS: np.zeros((1, 1), np.int32), **{name: _row(name, value) for name, value in values.items()}}


def decode_lora(row: Row) -> LoraTask | None:
    """The adapter of a row by its number, None where none was sent; 0 is an adapter's number too.

    Raises InvalidRequest for weights without their config or the reverse, of other shapes, or without the number.
    """
    task_id = row.scalar(LORA_TASK_ID)
    weights, config = row.array(LORA_WEIGHTS), row.array(LORA_CONFIG)
    for there, missing, array in ((LORA_CONFIG, LORA_WEIGHTS, config), (LORA_WEIGHTS, LORA_CONFIG, weights)):
        if array is not None and row.array(missing) is None:
            raise InvalidRequest(f"is missing or empty; it goes with {there}", missing)
    if weights is None or config is None:
        return None if task_id is None else LoraTask(task_id)
    if task_id is None:
        raise InvalidRequest(f"is missing; {LORA_WEIGHTS} are those of a task", LORA_TASK_ID)
    if config.shape != (len(weights), 3):
        raise InvalidRequest(
            f"expected 3 values for each of the {len(weights)} modules of {LORA_WEIGHTS}, got {list(config.shape)}",
            LORA_CONFIG,
        )
    return LoraTask(task_id, len(weights), encode_raw(weights), encode_raw(config))


def encode_lora(task: LoraTask | None) -> dict[str, Array]:
    """The inverse of decode_lora: the number [1, 1], weights [1, modules, n] and config [1, modules, 3] where it has them."""
    if task is None:
        return {}
    arrays: dict[str, Array] = {LORA_TASK_ID: np.array([[task.task_id]], np.uint64)}
    if task.modules:
        arrays[LORA_WEIGHTS] = np.frombuffer(task.weights, _WEIGHT).reshape(1, task.modules, -1)
        arrays[LORA_CONFIG] = np.frombuffer(task.config, _MODULE).reshape(1, task.modules, 3)
    return arrays


def _row(name: str, value: Any) -> Array:
    if isinstance(value, str):
        return encode_strings([[value]])
    return np.array([[value]], dtype=_DTYPE[name])


def _bias(bias: Mapping[int, float], vocab_size: int) -> Array:
    array = np.zeros((1, vocab_size), dtype=np.float32)
    for token, weight in bias.items():
        array[0, token] = weight
    return array


def _spelled(arrays: dict[str, Array], declared: Collection[str]) -> dict[str, Array]:
    """The arrays under each name that the model declares for them. Raises InvalidRequest where it declares none."""
    spelled = {}
    for name, array in arrays.items():
        names = [n for n in (name, ENGINE_ALIASES.get(name, name)) if n in declared]
        if not names:
            raise InvalidRequest("the engine model does not take it", name)
        spelled.update(dict.fromkeys(names, array))
    return spelled
