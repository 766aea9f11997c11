"""Rules of rows: which settings may differ between those of one request.

A row is a prompt of its own, and so are its settings: stock's backend makes a request of each. Only a model that may send
one response to a request has arrays with a line for every row, so what gives such a line its length, or decides whether
there is one, must be alike in all rows there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from ..errors import InvalidRequest
from .arrays import Arrays
from .contract import (
    BEAM_WIDTH,
    BLS_INPUTS,
    ENGINE_INPUTS,
    ENSEMBLE_INPUTS,
    NUM_RETURN_SEQUENCES,
    RETURN_LOG_PROBS,
    RETURN_NUM_INPUT_TOKENS,
    RETURN_NUM_OUTPUT_TOKENS,
    STOP,
    STREAM,
    STREAMING,
)

RowRule = Literal["own", "alike", "decoupled", "any"]
"""own: each row has its own value. alike: so too, but in one response for all rows they must be equal. decoupled: own, but
true only where the model may send several responses. any: true in any row is true for the request."""

_SPECIAL: Mapping[str, RowRule] = {
    NUM_RETURN_SEQUENCES: "alike",
    BEAM_WIDTH: "alike",
    RETURN_LOG_PROBS: "alike",
    RETURN_NUM_INPUT_TOKENS: "alike",
    RETURN_NUM_OUTPUT_TOKENS: "alike",
    STREAM: "decoupled",
    STREAMING: "decoupled",
    STOP: "any",
}
ROW_RULES: Mapping[str, RowRule] = {
    tensor.name: _SPECIAL.get(tensor.name, "own") for tensor in (*BLS_INPUTS, *ENSEMBLE_INPUTS, *ENGINE_INPUTS)
}
"""The rule of every input of the text models and of the engine model."""


def check_one_response(arrays: Arrays) -> None:
    """Checks a request, arrays of shape [rows, …], to a model that may send one response only.

    Raises InvalidRequest, with the input's name, for a stream, which Triton itself would break off, and for rows that differ
    where they must be alike.
    """
    for name, array in arrays.items():
        rule = ROW_RULES.get(name)
        if rule == "decoupled" and array.any():
            reason = "this server answers whole; leave it out, or serve with repository.decoupled: true"
            raise InvalidRequest(reason, STREAM)
        if rule == "alike" and (array != array[:1]).any():
            reason = "has rows that differ, and this server puts all rows into one response"
            raise InvalidRequest(f"{reason}; give one value, or serve with repository.decoupled: true", name)
