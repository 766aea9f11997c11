"""Sampling parameters as tensors: of the text models and of the engine model, each decoded and encoded.

Names and ranges come from the table (types.SAMPLING). Only `logprobs` has a codec here, because it is carried by two
tensors. Encoders give values by tensor name; their callers, which know the model, make arrays of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from ..types import CHOICE, SAMPLING, SamplingParams
from .contract import RETURN_LOG_PROBS, TOP_LOGPROBS
from .rows import Row

_TEXT_FIELDS = {tensor: (p.name, p.tensors) for p in SAMPLING for tensor in p.tensors}
_ENGINE_FIELDS = {tensor: (p.name, p.engine_tensors) for p in SAMPLING for tensor in p.engine_tensors}
_CALLER_NAMES = {p.name: p.tensors[0] for p in SAMPLING if p.tensors}
"""What callers call a parameter: the text models' name, which an ensemble's callers know too."""

TEXT_SAMPLING_INPUTS = frozenset((*_TEXT_FIELDS, RETURN_LOG_PROBS, TOP_LOGPROBS))
"""The tensors that `decode_text_sampling` reads."""
_SENT_TO_TEXT = tuple((p.name, p.tensors[0], p.default) for p in SAMPLING if p.tensors)
_SENT_TO_ENGINE = tuple((p.name, p.neutral) for p in SAMPLING if p.engine_tensors and p.name != "n")
"""`n` is not sent: samples are requests of their own, and of a beam search all beams come."""
_ENGINE_NAMES = {p.name: p.engine_tensors[-1] for p in SAMPLING if p.engine_tensors}


def decode_text_sampling(row: Row) -> SamplingParams:
    """Sampling parameters of a text model's row. Raises InvalidRequest with the text model's name of a parameter."""
    return _sampling_params(_decode(row, _TEXT_FIELDS))


def encode_text_sampling(sampling: SamplingParams) -> dict[str, Any]:
    """The inverse of decode_text_sampling: values by tensor; what is at its default is left out."""
    values = {
        tensor: value
        for name, tensor, default in _SENT_TO_TEXT
        if (value := getattr(sampling, name)) is not None and value != default
    }
    if sampling.logprobs is not None:
        values[RETURN_LOG_PROBS] = True
    if sampling.logprobs:
        values[TOP_LOGPROBS] = sampling.logprobs
    return values


def decode_engine_sampling(row: Row) -> SamplingParams:
    """Sampling parameters of the engine model's row, with a seed where none was sent. Raises InvalidRequest."""
    given = _decode(row, _ENGINE_FIELDS)
    if "seed" not in given:
        given["seed"] = secrets.randbits(63)
    return _sampling_params(given)


def encode_engine_sampling(sampling: SamplingParams) -> dict[str, Any]:
    """Values by the engine model's tensor, by stock's name where it has one; what asks for nothing is left out."""
    values = {
        name: value
        for name, neutral in _SENT_TO_ENGINE
        if (value := getattr(sampling, name)) is not None and value != neutral
    }
    values = {_ENGINE_NAMES[name]: value for name, value in _with_choice(values, sampling.greedy).items()}
    if sampling.logprobs is not None:
        values[RETURN_LOG_PROBS] = True
    return values


def _with_choice(values: dict[str, Any], greedy: bool) -> dict[str, Any]:
    """`values` with the choice of a token spelled out, so that nothing depends on TensorRT-LLM's own top-k and top-p.

    Greedy is top-k 1 and nothing else; any other request says how many tokens there are to choose from (0 = all) and
    which share of them.
    """
    if greedy:
        return {name: v for name, v in values.items() if name not in CHOICE} | {"top_k": 1}
    return {"top_k": 0, "top_p": 1.0} | values


def _decode(row: Row, fields: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, Any]:
    """Arguments of SamplingParams from the tensors that were sent; `fields`: (field, all its tensors) by tensor.

    Goes through what was sent, not through the table, because most requests have few parameters.
    """
    given: dict[str, Any] = {}
    for tensor in row.names:
        if tensor not in fields:
            continue
        name, names = fields[tensor]
        value = row.scalar(tensor)
        if name in given and given[name] != value:
            raise InvalidRequest(f"is another name of {names[0]}; give one of them", names[1])
        given[name] = value
    if "beam_width" in given:
        given.setdefault("n", given["beam_width"])  # a beam search returns all its beams where nothing else is said
    given["logprobs"] = _decode_logprobs(row)
    return given


def _decode_logprobs(row: Row) -> int | None:
    top = row.scalar(TOP_LOGPROBS)
    if not row.flag(RETURN_LOG_PROBS):
        if top:
            raise InvalidRequest(f"needs {RETURN_LOG_PROBS} = true", TOP_LOGPROBS)
        return None
    return int(top or 0)


def _sampling_params(given: Mapping[str, Any]) -> SamplingParams:
    """Raises InvalidRequest with the name of a parameter that callers of the text models know."""
    try:
        return SamplingParams(**given)
    except InvalidRequest as error:
        reason = str(error).removeprefix(f"{error.field}: ")
        raise InvalidRequest(reason, _CALLER_NAMES.get(error.field, error.field)) from None
