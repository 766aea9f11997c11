"""Outputs of the engine model: token ids and their log probs, encoded by engines of ours, decoded from NVIDIA's backend.

Decoding starts from raw bytes, as KServe's messages hold them, because a response comes for each token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from ..types import FinishReason, PromptLogProbs, TokenChunk
from .arrays import NUMPY, Array, encode_padded
from .contract import (
    CUM_LOG_PROBS,
    OUTPUT_IDS,
    OUTPUT_LOG_PROBS,
    OUTPUT_TOP_LOG_PROBS,
    OUTPUT_TOP_TOKEN_IDS,
    PERF_METRICS,
    PROMPT_LOG_PROBS,
    PROMPT_TOP_LOG_PROBS,
    PROMPT_TOP_TOKEN_IDS,
    SEQUENCE_LENGTH,
)

Pairs = Sequence[tuple[int, float]]
"""The likeliest tokens at one place, (id, log prob), most likely first."""

OUTPUTS = (OUTPUT_IDS, SEQUENCE_LENGTH)
"""The outputs that a request must name: TensorRT-LLM's backend fails without either."""
LOG_PROB_OUTPUTS = (OUTPUT_LOG_PROBS, CUM_LOG_PROBS)
METRIC_OUTPUTS = tuple(tensor.name for tensor in PERF_METRICS)
_METRIC_TYPES = {tensor.name: NUMPY[tensor.dtype] for tensor in PERF_METRICS}


def encode_token_piece(ids: Sequence[int]) -> dict[str, Array]:
    """The new ids of one sequence, [1, 1, n], and their number [1, 1]. Runs once a chunk, so nothing is padded."""
    return {OUTPUT_IDS: np.array([[ids]], np.int32), SEQUENCE_LENGTH: np.array([[len(ids)]], np.int32)}


def encode_token_ids(rows: Sequence[Sequence[Sequence[int]]], pad_ids: Sequence[int]) -> dict[str, Array]:
    """Whole sequences: [rows, sequences, longest], padded with the row's pad id, and their lengths [rows, sequences]."""
    return {
        OUTPUT_IDS: encode_padded(rows, np.int32, *pad_ids),
        SEQUENCE_LENGTH: np.array([[len(sequence) for sequence in row] for row in rows], np.int32),
    }


def encode_log_probs(rows: Sequence[Sequence[Sequence[float]]]) -> dict[str, Array]:
    """The log probs of the tokens of rows of sequences: [rows, sequences, longest], padded with 0."""
    return {OUTPUT_LOG_PROBS: encode_padded(rows, np.float32, 0)}


def encode_cum_log_probs(rows: Sequence[Sequence[float]]) -> dict[str, Array]:
    """The log probs of whole sequences: [rows, sequences]."""
    return {CUM_LOG_PROBS: np.array(rows, np.float32)}


def encode_top_log_probs(rows: Sequence[Sequence[Sequence[Pairs]]]) -> dict[str, Array]:
    """The likeliest tokens at each place of rows of sequences: ids and log probs [rows, sequences, longest, N].

    Padded with id -1 and log prob 0.
    """
    return _pairs(rows, OUTPUT_TOP_TOKEN_IDS, OUTPUT_TOP_LOG_PROBS)


def encode_prompt_log_probs(prompts: Sequence[PromptLogProbs]) -> dict[str, Array]:
    """Log probs of the tokens of each row's prompt [rows, longest]; 0 of the first token, and of what pads."""
    values = encode_padded([[[0.0, *prompt.log_probs]] for prompt in prompts], np.float32, 0)
    return {PROMPT_LOG_PROBS: values[:, 0]}


def encode_prompt_top_log_probs(prompts: Sequence[PromptLogProbs]) -> dict[str, Array]:
    """The likeliest tokens at each place of each row's prompt, ids and log probs [rows, longest, N], where one has them.

    The first place, and what pads, has id -1 and log prob 0.
    """
    if not any(prompt.top_log_probs for prompt in prompts):
        return {}
    places: list[list[Sequence[Pairs]]] = [[[(), *prompt.top_log_probs]] for prompt in prompts]
    pairs = _pairs(places, PROMPT_TOP_TOKEN_IDS, PROMPT_TOP_LOG_PROBS)
    return {name: array[:, 0] for name, array in pairs.items()}


def _pairs(rows: Sequence[Sequence[Sequence[Pairs]]], ids_name: str, log_probs_name: str) -> dict[str, Array]:
    longest = max((len(places) for row in rows for places in row), default=0)
    most = max((len(pairs) for row in rows for places in row for pairs in places), default=0)
    shape = (len(rows), len(rows[0]) if rows else 0, longest, most)
    ids, log_probs = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    for r, row in enumerate(rows):
        for s, places in enumerate(row):
            for p, pairs in enumerate(places):
                if pairs:
                    ids[r, s, p, : len(pairs)], log_probs[r, s, p, : len(pairs)] = zip(*pairs, strict=True)
    return {ids_name: ids, log_probs_name: log_probs}


def encode_metrics(rows: Sequence[Sequence[Mapping[str, bytes]]]) -> dict[str, Array]:
    """The metrics of the sequences of some rows, as many in each: [rows, sequences]; only those that all sequences have."""
    sequences = [metrics for row in rows for metrics in row]
    return {
        name: np.frombuffer(b"".join(metrics[name] for metrics in sequences), dtype).reshape(len(rows), -1)
        for name, dtype in _METRIC_TYPES.items()
        if sequences and all(name in metrics for metrics in sequences)
    }


def decode_metrics(outputs: Mapping[str, bytes]) -> dict[str, bytes]:
    """The metrics of a response, raw contents of one value, from its outputs' bytes by name."""
    return {name: outputs[name] for name in METRIC_OUTPUTS if name in outputs}


def decode_token_ids(outputs: Mapping[str, bytes]) -> list[int]:
    """The ids of a response with one sequence, from its outputs' bytes by name. Runs once a token."""
    ids: list[int] = memoryview(outputs[OUTPUT_IDS]).cast("i").tolist()
    length = int.from_bytes(outputs[SEQUENCE_LENGTH], "little")
    return ids if length == len(ids) else ids[:length]


def decode_beams(outputs: Mapping[str, bytes]) -> list[TokenChunk]:
    """The beams of a response, from its outputs' bytes by name: one chunk each, with log probs where they were asked for.

    None of the chunks has a finish reason, because the backend ends a request with an empty response.
    """
    lengths = memoryview(outputs[SEQUENCE_LENGTH]).cast("i").tolist()
    beams = len(lengths)
    ids = _rows(outputs[OUTPUT_IDS], "i", beams)
    log_probs = _rows(outputs.get(OUTPUT_LOG_PROBS, b""), "f", beams)
    totals: list[Any] = memoryview(outputs.get(CUM_LOG_PROBS, b"")).cast("f").tolist() or [None] * beams
    return [
        TokenChunk(row[:length], probs[:length], sequence=n, cum_log_prob=total, last=n == beams - 1)
        for n, (row, length, probs, total) in enumerate(zip(ids, lengths, log_probs, totals, strict=False))
    ]


def _rows(raw: bytes, form: Literal["i", "f"], rows: int) -> list[list[Any]]:
    """The numbers of a tensor, cut into `rows` rows of one length. `form`: i = int32, f = float32."""
    values: list[Any] = memoryview(raw).cast(form).tolist()
    size = len(values) // rows
    return [values[n * size : (n + 1) * size] for n in range(rows)]


def finish_reason(tokens: int, max_tokens: int | None) -> FinishReason:
    """The finish reason by the number of tokens produced, because TensorRT-LLM's backend does not give one."""
    return "length" if max_tokens is not None and tokens >= max_tokens else "stop"
