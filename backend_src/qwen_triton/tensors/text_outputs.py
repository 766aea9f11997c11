"""A model's output arrays as pieces of text, each of one sequence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from ..types import FinishReason, Usage
from .arrays import Arrays

TEXT_OUTPUTS = (
    "text_output", "sequence_index", "finish_reason", "stop_reason",
    "num_input_tokens", "num_output_tokens", "num_cached_tokens", "reasoning_opened",
)  # fmt: skip
LOGPROB_OUTPUTS = ("logprobs", "output_log_probs", "cum_log_probs")
"""`logprobs` is ours and says more; stock's two are read where it is missing."""


class Piece(NamedTuple):
    """New text of one sequence. `finish` and `usage` are set on its last piece, by models that tell them.

    `logprobs` is OpenAI's `logprobs.content`, or {"logprob": x} alone for each token where the model tells no more.
    `stop_reason` is the stop string or token id that ended the answer, None for the model's own end.
    `reasoning_opened`: the prompt ended within a <think> block; the first piece has it.
    """

    text: str
    sequence: int = 0
    finish: FinishReason | None = None
    stop_reason: str | int | None = None
    usage: Usage | None = None
    logprobs: tuple[Mapping[str, Any], ...] = ()
    reasoning_opened: bool = False


def decode_pieces(arrays: Arrays) -> list[Piece]:
    """The pieces of one response, whole or streamed; a response without text_output (an empty final one) has none."""
    texts = _flat(arrays, "text_output")
    place = _flat(arrays, "sequence_index")
    return [
        Piece(
            _text(text),
            int(place[0]) if len(texts) == 1 and place else index,
            cast("FinishReason | None", _text(_at(arrays, "finish_reason", index, b"")) or None),
            json.loads(_text(_at(arrays, "stop_reason", index, b"")) or "null"),
            _usage(arrays, index),
            tuple(_logprobs(arrays, index)),
            bool(_at(arrays, "reasoning_opened", 0, False)),
        )
        for index, text in enumerate(texts)
    ]


def _usage(arrays: Arrays, index: int) -> Usage | None:
    if not _at(arrays, "finish_reason", index, b"") or "num_output_tokens" not in arrays:
        return None
    return Usage(
        int(_at(arrays, "num_input_tokens", 0, 0)),
        int(_at(arrays, "num_output_tokens", index, 0)),
        int(_at(arrays, "num_cached_tokens", 0, 0)),
    )


def _logprobs(arrays: Arrays, index: int) -> list[dict[str, Any]]:
    if told := _text(_at(arrays, "logprobs", index, b"")):
        return list(json.loads(told))
    if "output_log_probs" not in arrays:
        return []
    row = arrays["output_log_probs"].reshape(len(_flat(arrays, "text_output")), -1)[index]
    return [{"logprob": float(value)} for value in row]


def _flat(arrays: Arrays, name: str) -> list[Any]:
    return list(arrays[name].reshape(-1).tolist()) if name in arrays else []


def _at(arrays: Arrays, name: str, index: int, otherwise: Any) -> Any:
    values = _flat(arrays, name)
    return values[index] if index < len(values) else otherwise


def _text(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("utf-8", "replace")
