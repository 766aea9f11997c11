"""Log probs that openvino-genai does not give: of a prompt's tokens, and of other tokens than the chosen one.

Its pipeline reports those of the chosen tokens alone (with `echo` one number that belongs to none of the prompt's). So the
graph is loaded a second time, as the stateful model that it was converted to, and computes such sequences again, beside the
pipeline and a few tokens in each step. Both are the model's own log probs, before temperature and penalties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino as ov

from ...types import EngineRequest, PromptLogProbs, TokenChunk

AT_ONCE = 4
"""Sequences that are scored at once; others wait. Each has keys and values of its own, outside of the cache."""
_PIECE, _PIECE_LOGITS = 256, 1 << 23
"""Tokens of a piece, and numbers in its logits (tokens times vocabulary), at most."""

_Rows = npt.NDArray[np.float32]


def needs_scoring(request: EngineRequest) -> bool:
    """Whether a sequence asks for log probs that the pipeline does not give."""
    return request.sampling.prompt_logprobs is not None or bool(request.sampling.logprobs)


class Scorer:
    """The stateful model, from the file of the converted graph. `properties`: the CPU plugin's, the same as the pipeline's."""

    def __init__(self, graph: Path, properties: Mapping[str, Any], vocab: int) -> None:
        self._model = ov.Core().compile_model(str(graph), "CPU", dict(properties))
        self._piece = max(1, min(_PIECE, _PIECE_LOGITS // vocab))

    def start(self, request: EngineRequest) -> Scoring:
        """The scoring of one sequence."""
        return Scoring(self._model.create_infer_request(), request, self._piece)


class Scoring:
    """One sequence: takes the pipeline's chunks, and gives them out with the log probs that they lack.

    `state`: an inference request of the model for this sequence alone. `piece`: tokens computed in a step, at most.
    """

    def __init__(self, state: Any, request: EngineRequest, piece: int) -> None:
        self._state = state
        self._piece = piece
        sampling = request.sampling
        self._prompt_tops, self._tops = sampling.prompt_logprobs, sampling.logprobs or 0
        self._tokens = list(request.token_ids)
        self._prompt = len(self._tokens)
        self._done = 0
        self._prompt_log_probs: list[float] = []
        self._prompt_likeliest: list[Sequence[tuple[int, float]]] = []
        self._of_answer: list[Sequence[tuple[int, float]]] = []
        self._held: list[TokenChunk] = []
        self._begun = False
        self.finished = False
        """Whether the pipeline's last chunk has been added."""

    def add(self, chunks: Sequence[TokenChunk]) -> None:
        """Takes the pipeline's next chunks."""
        self._held += chunks
        for chunk in chunks:
            self._tokens += chunk.token_ids
            self.finished = chunk.finish is not None

    def compute(self, most: int) -> int:
        """Computes the next piece, of at most so many tokens; returns how many there were."""
        wanted = len(self._tokens) if self._tops else self._prompt - 1
        piece = self._tokens[self._done : min(self._done + min(most, self._piece), wanted)]
        if piece:
            self._read(self._logits(piece))
        return len(piece)

    def _logits(self, piece: Sequence[int]) -> _Rows:
        """[tokens of the piece, vocabulary]: what the model expects behind each."""
        total = self._done + len(piece)
        outputs = self._state.infer(
            {
                "input_ids": np.array([piece], np.int64),
                "attention_mask": np.ones((1, total), np.int64),
                "position_ids": np.arange(self._done, total, dtype=np.int64)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
        )
        rows: _Rows = outputs["logits"][0]
        return rows

    def _read(self, logits: _Rows) -> None:
        """Takes the log probs of a piece; row i is about the token behind the i-th."""
        highest = logits.max(axis=1, keepdims=True)
        norms = highest[:, 0] + np.log(np.exp(logits - highest).sum(axis=1))
        for row, norm in zip(logits, norms, strict=True):
            self._done += 1
            if self._done < self._prompt:
                if self._prompt_tops is not None:
                    self._prompt_log_probs.append(float(row[self._tokens[self._done]] - norm))
                if self._prompt_tops:
                    self._prompt_likeliest.append(_likeliest(row, norm, self._prompt_tops))
            elif self._tops:
                self._of_answer.append(_likeliest(row, norm, self._tops))

    def release(self) -> list[TokenChunk]:
        """The chunks that are complete."""
        released: list[TokenChunk] = []
        while self._held and self._done >= self._prompt - 1 and self._is_complete(self._held[0]):
            chunk = self._held.pop(0)
            count = len(chunk.token_ids)
            if self._tops:
                chunk = chunk._replace(top_log_probs=self._of_answer[:count])
                del self._of_answer[:count]
            if not self._begun and self._prompt_tops is not None:
                chunk = chunk._replace(prompt=PromptLogProbs(self._prompt_log_probs, self._prompt_likeliest))
            self._begun = True
            released.append(chunk)
        return released

    def _is_complete(self, chunk: TokenChunk) -> bool:
        return not self._tops or len(self._of_answer) >= len(chunk.token_ids)


def _likeliest(row: _Rows, norm: Any, count: int) -> list[tuple[int, float]]:
    """The `count` likeliest tokens with their log probs, most likely first, the lower id of equals."""
    count = min(count, len(row))
    ids = np.argpartition(row, -count)[-count:]
    ids = ids[np.lexsort((ids, -row[ids]))]
    return [(int(token), float(row[token] - norm)) for token in ids]
