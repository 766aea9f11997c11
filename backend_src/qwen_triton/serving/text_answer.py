"""Encodes answers in text as the outputs of `tensorrt_llm_bls`: text, log probs, finish reason, usage."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..chat.reader import opens_thinking
from ..tensors.arrays import Array, encode_padded, encode_strings
from ..tensors.usage import encode_counts, encode_ends, encode_place
from ..text.text_stream import TextStream
from ..text.tokenizer import Tokenizer
from ..types import EngineRequest, GenerateRequest, TextChunk
from .answer import ChoiceIndex, SequenceAnswer, fill_rows


class TextEncoder:
    """An AnswerEncoder for the rows of one request. `echo`: whether the prompt precedes the text where a row does not say."""

    def __init__(
        self, rows: Sequence[GenerateRequest], tokenizer: Tokenizer, *, skip_special_tokens: bool, echo: bool
    ) -> None:
        self._rows = rows
        self._tokenizer = tokenizer
        self._skip_special_tokens = skip_special_tokens
        self._echoes = {r: "" for r, row in enumerate(rows) if (echo if row.echo is None else row.echo)}
        self._streams: dict[tuple[int, int], TextStream] = {}
        self._thinking = [False] * len(rows)
        self._logprobs = any(row.sampling.logprobs is not None or row.sampling.beam_width > 1 for row in rows)

    def open(self, row: int, request: EngineRequest, sequence: int) -> TextStream:
        given = self._rows[row]
        if row in self._echoes:
            self._echoes[row] = given.prompt or self._tokenizer.decode(request.token_ids, self._skip_special_tokens)
        self._thinking[row] = given.messages is not None and opens_thinking(request.token_ids, self._tokenizer)
        stream = self._streams[row, sequence] = TextStream(
            self._tokenizer,
            given.stop,
            end_ids=request.end_ids,
            min_tokens=request.sampling.min_tokens,
            skip_special_tokens=self._skip_special_tokens,
            accumulate=bool(given.accumulate) and given.stream,
            prompt_tokens=len(request.token_ids),
            sequence=sequence,
        )
        return stream

    def piece(self, piece: TextChunk, choice: ChoiceIndex) -> Mapping[str, Array]:
        accumulated = self._rows[choice.row].accumulate
        echo = self._echoes.get(choice.row, "") if choice.first or accumulated else ""
        arrays = {"text_output": encode_strings([[echo + piece.text]])}
        if not choice.only:
            arrays |= encode_place(choice.row, choice.sequence)
        if self._logprobs:
            arrays["output_log_probs"] = np.array([[piece.log_probs]], dtype=np.float32)
            arrays["logprobs"] = encode_strings([[encode_logprobs(piece, self._tokenizer)]])
        if choice.first and self._thinking[choice.row]:
            arrays["reasoning_opened"] = np.array([[True]])
        if piece.finish is None and self._rows[choice.row].count_pieces:
            arrays |= encode_counts([[self._streams[choice.row, choice.sequence].usage]])
        if piece.finish is not None:
            arrays |= encode_ends([[piece]]) | {"stop_reason": _stop_reasons([[piece]])}
            if self._logprobs:
                arrays["cum_log_probs"] = np.array([[piece.cum_log_prob or 0.0]], np.float32)
        return arrays

    def whole(self, rows: Sequence[Sequence[SequenceAnswer]]) -> Mapping[str, Array]:
        full = fill_rows(rows)
        texts = [[self._echoes.get(r, "") + "".join(a.text) for a in row] for r, row in enumerate(full)]
        ends = [[a.end for a in row] for row in full]
        arrays = {
            "text_output": encode_strings(texts),
            "batch_index": np.arange(len(full), dtype=np.int32).reshape(-1, 1),
            "sequence_index": np.zeros((len(full), 1), dtype=np.int32),
            **encode_ends(ends),
            "stop_reason": _stop_reasons(ends),
            "reasoning_opened": np.array(self._thinking).reshape(-1, 1),
        }
        if self._logprobs:
            arrays["cum_log_probs"] = np.array([[a.cum_log_prob for a in row] for row in full], np.float32)
            arrays["output_log_probs"] = encode_padded([[a.log_probs for a in row] for row in full], np.float32, 0)
            arrays["logprobs"] = encode_strings([[encode_logprobs(a, self._tokenizer) for a in row] for row in full])
        return arrays


def _stop_reasons(rows: Sequence[Sequence[TextChunk | None]]) -> Array:
    return encode_strings([[json.dumps(e.stop_reason if e else None, ensure_ascii=False) for e in r] for r in rows])


def encode_logprobs(answer: TextChunk | SequenceAnswer, tokenizer: Tokenizer) -> str:
    """OpenAI's `logprobs.content` of a chunk or an answer, as JSON; an empty list where it has no log probs."""
    tops = answer.top_log_probs or [()] * len(answer.log_probs)
    return json.dumps(
        [
            _token(i, log_prob, tokenizer) | {"top_logprobs": [_token(t, p, tokenizer) for t, p in top]}
            for i, log_prob, top in zip(answer.token_ids, answer.log_probs, tops, strict=False)
        ],
        ensure_ascii=False,
    )


def _token(token_id: int, log_prob: float, tokenizer: Tokenizer) -> dict[str, Any]:
    data = tokenizer.token_bytes(token_id)
    return {"token": data.decode("utf-8", "replace"), "bytes": list(data), "logprob": log_prob}
