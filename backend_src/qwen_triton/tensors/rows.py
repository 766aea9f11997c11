"""Input arrays read row by row, and what several models' inputs have in common."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ..errors import InvalidRequest
from ..types import MAX_SEQUENCES, PromptFormat
from .arrays import Arrays

_Decoded = TypeVar("_Decoded")


def count_rows(arrays: Arrays) -> int:
    """How many prompts the arrays hold. Raises InvalidRequest when they disagree or there is none."""
    rows = {name: array.shape[0] if array.ndim else 0 for name, array in arrays.items()}
    if not rows:
        raise InvalidRequest("a prompt is text, messages or token ids: give one of them", "text_input")
    first, count = next(iter(rows.items()))
    for name, n in rows.items():
        if n != count or n == 0:
            raise InvalidRequest(f"has {n} rows where {first} has {count}; give one row for each prompt", name)
    return count


class Row:
    """One row of the arrays, read by wire name; None for what was not sent. Errors name the tensor."""

    def __init__(self, arrays: Arrays, row: int) -> None:
        self._arrays = arrays
        self._row = row

    def values(self, name: str) -> list[Any] | None:
        """All values of the row, flattened."""
        array = self._arrays.get(name)
        return None if array is None else list(array[self._row].reshape(-1).tolist())

    def scalar(self, name: str) -> Any:
        values = self.values(name)
        if values is None:
            return None
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
        """The strings of a list; an empty one is stock's way to say «none»."""
        return tuple(t for v in self.values(name) or () if (t := _as_text(v, name)))

    def json(self, name: str, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
        """A JSON value of the given kind; None when absent or empty."""
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


def first_given(row: Row, *names: str) -> Any:
    """The value under the first of several names that was sent; two different values are refused."""
    given = {name: value for name in names if (value := row.scalar(name)) is not None}
    if len(set(given.values())) > 1:
        raise InvalidRequest(f"is another name of {names[0]}; give one of them", names[1])
    return next(iter(given.values()), None)


def decode_logprobs(row: Row) -> int | None:
    """`return_log_probs` and `top_logprobs` as SamplingParams.logprobs."""
    top = row.scalar("top_logprobs")
    if not row.flag("return_log_probs"):
        if top:
            raise InvalidRequest("needs return_log_probs = true", "top_logprobs")
        return None
    return int(top or 0)


def decode_counts(row: Row) -> tuple[int, int]:
    """(`num_return_sequences`, `beam_width`); a beam search returns all its beams where nothing else is said."""
    beam_width = _count(row, "beam_width", 1)
    return _count(row, "num_return_sequences", beam_width), beam_width


def _count(row: Row, name: str, default: int) -> int:
    value = row.scalar(name)
    if value is not None and not 1 <= value <= MAX_SEQUENCES:
        raise InvalidRequest(f"must be in [1, {MAX_SEQUENCES}], got {value}", name)
    return default if value is None else int(value)


def pair_words(words: Sequence[str], weights: Sequence[float], name: str) -> tuple[tuple[str, float], ...]:
    """Biased words with their weights. Raises InvalidRequest when there are not as many of both."""
    if len(words) != len(weights):
        raise InvalidRequest(f"has {len(weights)} values for {len(words)} words", name)
    return tuple(zip(words, map(float, weights), strict=True))


def decode_prompt_format(row: Row) -> PromptFormat | None:
    value = row.text("prompt_format")
    if value not in (None, "", "raw", "chat"):
        raise InvalidRequest(f"expected raw or chat, got {value!r}", "prompt_format")
    return value or None  # type: ignore[return-value]  # the line above leaves the two literals


def refuse_unsupported(row: Row, refused: Mapping[str, str]) -> None:
    """Raises InvalidRequest for an input that stock declares and nothing here can honour, unless it is empty or false.

    `refused`: why, by input.
    """
    for name, reason in refused.items():
        if any(row.values(name) or ()):
            raise InvalidRequest(f"{reason}; leave it out", name)


def decode_rows(arrays: Arrays, decode: Callable[[Row], _Decoded]) -> list[_Decoded]:
    """What `decode` makes of each row. Raises InvalidRequest naming the tensor (and the row, where there are several)."""
    rows = count_rows(arrays)
    decoded = []
    for number in range(rows):
        try:
            decoded.append(decode(Row(arrays, number)))
        except InvalidRequest as error:
            if rows == 1:
                raise
            raise InvalidRequest(f"{error} (row {number})") from None
    return decoded
