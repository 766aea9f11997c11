"""Text answers as output tensors of a text model, and back: `decode_text_outputs` reads what the encoders write.

Session, shim and benchmark read with the one decoder here. It takes stock's answers too, which lack most outputs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..types import FinishReason, GenerateRequest, TextChunk, Usage
from .arrays import RAW_DECODERS, Array, encode_flat_strings, encode_padded, encode_strings
from .contract import (
    ANSWER_IDS,
    BLS_OUTPUTS,
    CUM_LOG_PROBS,
    LOGPROBS,
    NUM_REASONING_TOKENS,
    OUTPUT_LOG_PROBS,
    PROMPT_IDS,
    PROMPT_LOGPROBS,
    REASONING_OPENED,
    SEQUENCE_INDEX,
    STOP_REASON,
    TEXT_OUTPUT,
    TOOL_FORMAT,
)
from .engine_outputs import encode_metrics
from .usage import (
    END_OUTPUTS,
    decode_body_values,
    decode_end,
    encode_counts,
    encode_ends,
    encode_place,
    encode_places,
    value_at,
)

TEXT_OUTPUTS = (TEXT_OUTPUT, SEQUENCE_INDEX, *END_OUTPUTS, STOP_REASON, REASONING_OPENED, NUM_REASONING_TOKENS)
"""A streamed response holds only those that have something to say."""
LOGPROB_OUTPUTS = (LOGPROBS, OUTPUT_LOG_PROBS)
"""`output_log_probs` is stock's; it is read where a model has no `logprobs`, which says more."""

TokenLogprobs = Sequence[Mapping[str, Any]]
"""OpenAI's `logprobs.content`: token, bytes, logprob and top_logprobs of each token."""


def wanted_text_outputs(request: GenerateRequest, logprobs: Sequence[str] = LOGPROB_OUTPUTS) -> tuple[str, ...]:
    """The outputs to ask a text model for; `logprobs`: those of log probs. What says nothing is not asked for: it costs."""
    sampling = request.sampling
    outputs = TEXT_OUTPUTS if sampling.n > 1 else tuple(name for name in TEXT_OUTPUTS if name != SEQUENCE_INDEX)
    if request.tools and request.messages is not None:
        outputs = (*outputs, TOOL_FORMAT)
    if request.return_token_ids:
        outputs = (*outputs, PROMPT_IDS, ANSWER_IDS)
    if sampling.prompt_logprobs is not None:
        outputs = (*outputs, PROMPT_LOGPROBS)
    return outputs if sampling.logprobs is None else (*outputs, *logprobs)


class TextPiece(NamedTuple):
    """New text of one sequence, as a client of a text model reads it.

    `usage` is set on the last piece, and on every piece where the request asks for counts (`count_pieces`).
    `logprobs` is OpenAI's `logprobs.content`, or {"logprob": x} alone for each token of a stock model.
    `stop_reason` is the stop string or token id that ended the answer, None for the model's own end.
    `reasoning_opened`: the prompt ended within a <think> block; only the first piece says so.
    `tool_format`: the name of the format of tool calls, "" where the model does not tell it; only the first piece has it.
    `prompt_logprobs`: {"id", "token", "bytes", "logprob", "top_logprobs"} of each token of the prompt, null as the first one's
    log prob; only the first piece of the first sequence has it, and `prompt_ids`, the prompt's token ids.
    `token_ids`: those of this piece's tokens, without an end token; None where they were not asked for, as `prompt_ids`.
    `merged`: how many responses the piece was merged from.
    """

    text: str
    sequence: int = 0
    finish: FinishReason | None = None
    stop_reason: str | int | None = None
    usage: Usage | None = None
    logprobs: list[dict[str, Any]] | None = None
    reasoning_opened: bool = False
    merged: int = 1
    prompt_logprobs: list[dict[str, Any]] | None = None
    prompt_ids: list[int] | None = None
    token_ids: list[int] | None = None
    tool_format: str = ""


def encode_text_piece(
    chunk: TextChunk,
    place: tuple[int, int] | None = None,
    *,
    usage: Usage | None = None,
    logprobs: TokenLogprobs | None = None,
    reasoning_opened: bool = False,
    tool_format: str = "",
) -> dict[str, Array]:
    """A streamed response: arrays [1, 1] of one sequence, only those that are not at their default. Hot.

    `text_output` is [1], `output_log_probs` [1, 1, tokens]. `place`: its row and sequence, None to
    leave them out. `usage`: the counts so far, for a chunk that is not the last. `logprobs`: None where none are asked for.
    """
    arrays = {TEXT_OUTPUT: encode_flat_strings((chunk.text,))}
    if place is not None:
        arrays |= encode_place(*place)
    if logprobs is not None:
        arrays[OUTPUT_LOG_PROBS] = np.array([[chunk.log_probs]], dtype=np.float32)
        arrays[LOGPROBS] = encode_strings([[_dump(logprobs)]])
    if reasoning_opened:
        arrays[REASONING_OPENED] = np.array([[True]])
    if tool_format:
        arrays[TOOL_FORMAT] = encode_strings([[tool_format]])
    if chunk.finish is not None:
        arrays |= encode_ends([[chunk]]) | {STOP_REASON: encode_strings([[_dump(chunk.stop_reason)]])}
        if logprobs is not None:
            arrays[CUM_LOG_PROBS] = np.array([[chunk.cum_log_prob or 0.0]], np.float32)
        if chunk.metrics is not None:
            arrays |= encode_metrics([[chunk.metrics]])
    elif usage is not None:
        arrays |= encode_counts([[usage]])
    return arrays


def encode_text_whole(
    rows: Sequence[Sequence[TextChunk]],
    places: Sequence[tuple[int, int]],
    reasoning_opened: Sequence[bool],
    logprobs: Sequence[Sequence[TokenLogprobs]] | None = None,
    tool_formats: Sequence[str] = (),
) -> dict[str, Array]:
    """Whole answers as arrays [rows, n] (log probs: [rows, n, tokens]): one chunk for each sequence, as many in every row.

    `text_output` is [rows * n], as stock sends it. `places`: (row, first sequence) of each row, `reasoning_opened` that of
    each row. `logprobs`: of each sequence, None where the request asks for none. `tool_formats`: of each row, "" for none.
    """
    arrays = {
        TEXT_OUTPUT: encode_flat_strings(chunk.text for row in rows for chunk in row),
        **encode_places(places),
        **encode_ends(rows),
        STOP_REASON: encode_strings([[_dump(chunk.stop_reason) for chunk in row] for row in rows]),
        REASONING_OPENED: np.array(reasoning_opened).reshape(-1, 1),
    }
    if any(tool_formats):
        arrays[TOOL_FORMAT] = encode_strings([[name] for name in tool_formats])
    if logprobs is not None:
        arrays[CUM_LOG_PROBS] = np.array([[chunk.cum_log_prob for chunk in row] for row in rows], np.float32)
        arrays[OUTPUT_LOG_PROBS] = encode_padded([[chunk.log_probs for chunk in row] for row in rows], np.float32, 0)
        arrays[LOGPROBS] = encode_strings([[_dump(content) for content in row] for row in logprobs])
    return arrays


def encode_prompt_logprobs(rows: Sequence[TokenLogprobs | None]) -> dict[str, Array]:
    """The log probs of each row's prompt as JSON [rows, 1]; null for a prompt whose sequence never began."""
    return {PROMPT_LOGPROBS: encode_strings([[_dump(tokens)] for tokens in rows])}


def encode_answer_ids(rows: Sequence[Sequence[TextChunk]]) -> dict[str, Array]:
    """The token ids of each chunk as JSON [rows, n], as many chunks in every row."""
    return {ANSWER_IDS: encode_strings([[_dump(list(chunk.token_ids)) for chunk in row] for row in rows])}


def encode_prompt_ids(rows: Sequence[Sequence[int]]) -> dict[str, Array]:
    """The token ids of each row's prompt as JSON [rows, 1]."""
    return {PROMPT_IDS: encode_strings([[_dump(list(ids))] for ids in rows])}


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def decode_text_outputs(outputs: Mapping[str, bytes]) -> list[TextPiece]:
    """The pieces of one response, streamed or whole; none of a response without text_output (an empty final one).

    `outputs`: raw tensor contents by output name, of one row. Hot.
    """
    text = outputs.get(TEXT_OUTPUT, b"")
    if len(outputs) == 1 and len(text) == 4 + int.from_bytes(text[:4], "little"):  # one string, as nearly all have
        return [TextPiece(text[4:].decode("utf-8", "replace"))]
    return _pieces({name: _DECODERS[name](raw) for name, raw in outputs.items() if name in _DECODERS})


def decode_text_body(body: Mapping[str, Any]) -> list[TextPiece]:
    """The same of a response of Triton's generate endpoints: JSON values, or lists of them, by output name."""
    text = body.get(TEXT_OUTPUT)
    if isinstance(text, str) and _BESIDE_TEXT.isdisjoint(body):
        return [TextPiece(text)]
    return _pieces(decode_body_values(body))


def _pieces(values: Mapping[str, Sequence[Any]]) -> list[TextPiece]:
    texts = values.get(TEXT_OUTPUT, ())
    first = value_at(values, SEQUENCE_INDEX, 0, 0)
    opened = bool(value_at(values, REASONING_OPENED, 0, False))
    tool_format = value_at(values, TOOL_FORMAT, 0, "")
    with_logprobs = not values.keys().isdisjoint(LOGPROB_OUTPUTS)
    prompt = json.loads(value_at(values, PROMPT_LOGPROBS, 0, "null")) if PROMPT_LOGPROBS in values else None
    prompt_ids = json.loads(value_at(values, PROMPT_IDS, 0, "null")) if PROMPT_IDS in values else None
    pieces = []
    for index, text in enumerate(texts):
        finish, usage = decode_end(values, index)
        reason = value_at(values, STOP_REASON, index, "")
        stop_reason = json.loads(reason) if reason else None
        logprobs = _logprobs(values, index, len(texts)) if with_logprobs else None
        ids = json.loads(value_at(values, ANSWER_IDS, index, "[]")) if ANSWER_IDS in values else None
        of_prompt = (None, None) if index else (prompt, prompt_ids)
        told = (*of_prompt, ids, tool_format)
        pieces.append(TextPiece(text, first + index, finish, stop_reason, usage, logprobs, opened, 1, *told))
    return pieces


def _logprobs(values: Mapping[str, Sequence[Any]], index: int, sequences: int) -> list[dict[str, Any]] | None:
    if content := value_at(values, LOGPROBS, index, ""):
        return list(json.loads(content))
    flat = values.get(OUTPUT_LOG_PROBS)
    if not flat:
        return None
    size = len(flat) // sequences
    return [{"logprob": float(value)} for value in flat[index * size : (index + 1) * size]]


_DECODED = (*TEXT_OUTPUTS, TOOL_FORMAT, *LOGPROB_OUTPUTS, PROMPT_LOGPROBS, PROMPT_IDS, ANSWER_IDS)
_DECODERS = {t.name: RAW_DECODERS[t.dtype] for t in BLS_OUTPUTS if t.name in _DECODED}
_BESIDE_TEXT = frozenset(_DECODERS) - {TEXT_OUTPUT}


def merge_pieces(pieces: Sequence[TextPiece]) -> list[TextPiece]:
    """One piece for each sequence, in the order of their first: the text and log probs of all, the latest counts."""
    merged: dict[int, TextPiece] = {}
    for piece in pieces:
        earlier = merged.get(piece.sequence)
        merged[piece.sequence] = piece if earlier is None else _merge(earlier, piece)
    return list(merged.values())


def _merge(first: TextPiece, second: TextPiece) -> TextPiece:
    untold = first.logprobs is None and second.logprobs is None
    return TextPiece(
        first.text + second.text,
        first.sequence,
        second.finish,
        second.stop_reason,
        second.usage or first.usage,
        None if untold else [*(first.logprobs or ()), *(second.logprobs or ())],
        first.reasoning_opened or second.reasoning_opened,
        first.merged + second.merged,
        first.prompt_logprobs or second.prompt_logprobs,
        first.prompt_ids or second.prompt_ids,
        first.token_ids if second.token_ids is None else [*(first.token_ids or ()), *second.token_ids],
        first.tool_format or second.tool_format,
    )
