"""Rows of input arrays: a reader of one row's values by tensor name, checks that the decoders share, what may differ.

Triton stacks the prompts of a request along the first dimension; each row is one prompt. Errors name the tensor. A row's
settings are its own too: stock's backend makes a request of each. Only a model that may send one response to a request has
arrays with a line for every row, so what gives such a line its length, or decides whether there is one, must be alike in
all rows there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Any, Literal, TypeVar

from ..errors import InvalidRequest
from ..types import Form, FormKind, PromptFormat, ToolChoice
from .arrays import Array, Arrays
from .contract import (
    BEAM_WIDTH,
    BLS_INPUTS,
    ENGINE_INPUTS,
    ENSEMBLE_INPUTS,
    GUIDED_DECODING_GUIDE,
    GUIDED_DECODING_GUIDE_TYPE,
    NUM_RETURN_SEQUENCES,
    PROMPT_FORMAT,
    RETURN_LOG_PROBS,
    RETURN_NUM_INPUT_TOKENS,
    RETURN_NUM_OUTPUT_TOKENS,
    RETURN_PERF_METRICS,
    STOP,
    STREAM,
    STREAMING,
    TEXT_INPUT,
    TOOL_CHOICE,
)

_Item = TypeVar("_Item")
_Decoded = TypeVar("_Decoded")
_PROMPT = "a prompt is text, messages or token ids: give one of them"
RowRule = Literal["own", "alike", "decoupled", "any"]
"""own: each row has its own value. alike: so too, but in one response for all rows they must be equal. decoupled: own, but
true only where the model may send several responses. any: true in any row is true for the request."""

_SPECIAL: Mapping[str, RowRule] = {
    NUM_RETURN_SEQUENCES: "alike",
    BEAM_WIDTH: "alike",
    RETURN_LOG_PROBS: "alike",
    RETURN_NUM_INPUT_TOKENS: "alike",
    RETURN_NUM_OUTPUT_TOKENS: "alike",
    RETURN_PERF_METRICS: "alike",
    STREAM: "decoupled",
    STREAMING: "decoupled",
    STOP: "any",
}
ROW_RULES: Mapping[str, RowRule] = {
    tensor.name: _SPECIAL.get(tensor.name, "own") for tensor in (*BLS_INPUTS, *ENSEMBLE_INPUTS, *ENGINE_INPUTS)
}
"""The rule of every input of the text models and of the engine model."""


def count_rows(arrays: Arrays) -> int:
    """The number of prompts, first dimension of arrays of shape [rows, …].

    Raises InvalidRequest where arrays disagree or have none.
    """
    rows = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if not rows:
        raise InvalidRequest(f"is missing; {_PROMPT}", TEXT_INPUT)
    first, count = next(iter(rows.items()))
    for name, n in rows.items():
        if n != count or n == 0:
            raise InvalidRequest(f"has {n} rows where {first} has {count}; give one row for each prompt", name)
    return count


class Row:
    """One row (from 0) of arrays of shape [rows, …], read by tensor name; None for a tensor that was not sent.

    Readers raise InvalidRequest with the tensor's name for a value that is not of their kind.
    """

    def __init__(self, arrays: Arrays, row: int) -> None:
        self._arrays = arrays
        self._row = row

    @property
    def names(self) -> Set[str]:
        """The tensors that were sent."""
        return self._arrays.keys()

    def values(self, name: str) -> list[Any] | None:
        """All values of the row, flattened."""
        array = self._arrays.get(name)
        return None if array is None else list(array[self._row : self._row + 1].reshape(-1).tolist())

    def array(self, name: str) -> Array | None:
        """The row of an array [rows, …], of shape […]; None for a tensor without values."""
        array = self._arrays.get(name)
        return array[self._row] if array is not None and array.size else None

    def scalar(self, name: str) -> Any:
        """The only value. Raises InvalidRequest for several or none."""
        array = self._arrays.get(name)
        if array is None:
            return None
        if array.size == 1:
            return array.item()
        values = self.values(name) or []
        if len(values) != 1:
            raise InvalidRequest(f"expected one value for each prompt, got {len(values)}", name)
        return values[0]

    def flag(self, name: str) -> bool | None:
        value = self.scalar(name)
        return None if value is None else bool(value)

    def text(self, name: str) -> str | None:
        value = self.scalar(name)
        return None if value is None else _as_text(value, name)

    def texts(self, name: str) -> tuple[str, ...]:
        """The strings of a list without empty ones, because stock's clients send one empty string for no words."""
        return tuple(t for v in self.values(name) or () if (t := _as_text(v, name)))

    def json(self, name: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
        """A JSON value of the given kind; None when absent or empty. Raises InvalidRequest for anything else."""
        text = self.text(name)
        if not text:
            return None
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"is not valid JSON: {error}", name) from None
        if not isinstance(value, kind):
            expected = "a list" if kind is list else "an object"
            raise InvalidRequest(f"expected {expected} as JSON, got {type(value).__name__}", name)
        return value


def _as_text(value: Any, name: str) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"is not valid UTF-8 at byte {error.start}", name) from None


def pair_words(words: Sequence[str], weights: Sequence[float], name: str) -> tuple[tuple[str, float], ...]:
    """Biased words with their weights. Raises InvalidRequest with the tensor `name` for different numbers of them."""
    if len(words) != len(weights):
        raise InvalidRequest(f"has {len(weights)} values for {len(words)} words", name)
    return tuple(zip(words, map(float, weights), strict=True))


def decode_prompt_format(row: Row) -> PromptFormat | None:
    """`prompt_format`, None for an absent or empty one. Raises InvalidRequest for any but raw and chat."""
    value = row.text(PROMPT_FORMAT)
    if value not in (None, "", "raw", "chat"):
        raise InvalidRequest(f"expected raw or chat, got {value!r}", PROMPT_FORMAT)
    return value or None  # type: ignore[return-value]  # the line above leaves the two literals


def decode_tool_choice(row: Row) -> ToolChoice:
    """`tool_choice`: a word, or an object as JSON; auto for an absent or empty one. Raises InvalidRequest for any other."""
    text = row.text(TOOL_CHOICE)
    if not text:
        return ToolChoice()
    return ToolChoice.read(row.json(TOOL_CHOICE, dict) if text.lstrip().startswith("{") else text)


def refuse_unsupported(row: Row, refused: Mapping[str, str]) -> None:
    """Raises InvalidRequest for an input that stock declares and nothing here honours, unless all its values are false.

    `refused`: the reason, by input. Zeros and empty texts pass, because stock's clients send them for «not used».
    """
    for name in row.names:
        if name in refused and (array := row.array(name)) is not None and array.any():
            raise InvalidRequest(f"{refused[name]}; leave it out", name)


def each_row(items: Sequence[_Item], convert: Callable[[_Item], _Decoded]) -> list[_Decoded]:
    """`convert` of each row's item. Its InvalidRequest gets the row's number if there are several rows."""
    converted = []
    for number, item in enumerate(items):
        try:
            converted.append(convert(item))
        except InvalidRequest as error:
            raise (error.in_row(number) if len(items) > 1 else error) from None
    return converted


def decode_rows(arrays: Arrays, decode: Callable[[Row], _Decoded]) -> list[_Decoded]:
    """`decode` of each row of arrays of shape [rows, …].

    Raises InvalidRequest with the tensor's name, and the row's number if there are several.
    """
    return each_row([Row(arrays, number) for number in range(count_rows(arrays))], decode)


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


GUIDE_TYPES: Mapping[str, FormKind] = {
    "json": "json_object",
    "json_schema": "json_schema",
    "regex": "regex",
    "choice": "choice",
    "ebnf_grammar": "grammar",
    "structural_tag": "structural_tag",
}
"""`guided_decoding_guide_type` → a form's kind. All but `choice` are stock's."""
_ALIASES: Mapping[str, FormKind] = {"json_object": "json_object", "grammar": "grammar"}
_TYPES = {kind: name for name, kind in GUIDE_TYPES.items()}
EBNF = _TYPES["grammar"]
"""The kind by which a compiled grammar goes to an engine model."""


def decode_form(row: Row) -> Form | None:
    """The form of a row's answer, None for none. Raises InvalidRequest for one input without the other, or no such kind."""
    name, guide = row.text(GUIDED_DECODING_GUIDE_TYPE), row.text(GUIDED_DECODING_GUIDE)
    if not name:
        if guide:
            raise InvalidRequest(f"is missing; it is one of {', '.join(GUIDE_TYPES)}", GUIDED_DECODING_GUIDE_TYPE)
        return None
    kind = GUIDE_TYPES.get(name) or _ALIASES.get(name)
    if kind is None:
        raise InvalidRequest(
            f"expected one of {', '.join(GUIDE_TYPES)}, got {name[:100]!r}", GUIDED_DECODING_GUIDE_TYPE
        )
    if kind == "json_object":
        if guide:
            raise InvalidRequest("json takes none; json_schema takes a schema", GUIDED_DECODING_GUIDE)
        guide = ""
    elif not guide:
        raise InvalidRequest(f"is missing or empty; {name} needs it", GUIDED_DECODING_GUIDE)
    return Form(kind, guide)


def encode_form(form: Form | None) -> dict[str, Any]:
    """The inverse of decode_form: values by tensor."""
    if form is None:
        return {}
    return {
        GUIDED_DECODING_GUIDE_TYPE: _TYPES[form.kind],
        GUIDED_DECODING_GUIDE: form.spec or None,
    }
