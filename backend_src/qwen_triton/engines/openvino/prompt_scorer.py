"""Log probs of prompts: the model once more, apart from the pipeline, which has none of what it finds in its prefix cache.

The graph is the pipeline's own, and behind its logits log softmax, the log prob of each next token, and the likeliest
tokens, so that no logits leave the library. A prompt is computed in parts, one at a call, so that other sequences go on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from ...types import PromptLogProbs
from ..engine import Key
from .graph import INPUTS

PART_TOKENS = 64
_MOST_TOPS = 20
_NEXT_IDS = "next_ids"


class PromptScorer:
    """Computes one prompt after the other, in the order they were added. The model is loaded with the first one."""

    def __init__(self, file: Path, properties: Mapping[str, Any], vocabulary: int) -> None:
        self._file = file
        self._properties = dict(properties)
        self._tops = min(_MOST_TOPS, vocabulary)
        self._request: ov.InferRequest | None = None
        self._waiting: deque[tuple[Key, Sequence[int], int]] = deque()
        self._at = 0
        self._log_probs: list[float] = []
        self._top_log_probs: list[list[tuple[int, float]]] = []

    @property
    def busy(self) -> bool:
        return bool(self._waiting)

    def add(self, key: Key, token_ids: Sequence[int], tops: int) -> None:
        """Queues a prompt. `tops`: how many of the likeliest tokens are wanted at each place."""
        self._waiting.append((key, token_ids, tops))

    def cancel(self, key: Key) -> None:
        """Drops a prompt; ignores one that is not there."""
        if self._waiting and self._waiting[0][0] == key:
            self._next()
        else:
            self._waiting = deque(entry for entry in self._waiting if entry[0] != key)

    def step(self) -> tuple[Key, PromptLogProbs] | None:
        """Computes the next part of the first prompt. Returns its log probs once they are complete.

        Raises RuntimeError where the model cannot be loaded or computed; no prompt of that scorer will be complete then.
        """
        key, ids, tops = self._waiting[0]
        part = ids[self._at : self._at + PART_TOKENS][: len(ids) - 1 - self._at]
        if part:
            self._compute(part, ids[self._at + 1 : self._at + 1 + len(part)], tops)
            self._at += len(part)
        if self._at < len(ids) - 1:
            return None
        found = PromptLogProbs(self._log_probs, self._top_log_probs if tops else ())
        self._next()
        return key, found

    def _next(self) -> None:
        self._waiting.popleft()
        self._at, self._log_probs, self._top_log_probs = 0, [], []
        if self._request is not None:
            self._request.reset_state()

    def _compute(self, part: Sequence[int], following: Sequence[int], tops: int) -> None:
        if self._request is None:
            self._request = ov.Core().compile_model(self._scored(), "CPU", self._properties).create_infer_request()
        end = self._at + len(part)
        tokens = np.array([part], np.int64), np.ones((1, end), np.int64), np.arange(self._at, end, dtype=np.int64)[None]
        inputs = {
            **dict(zip(INPUTS, tokens, strict=True)),
            "beam_idx": np.zeros(1, np.int32),
            _NEXT_IDS: np.array([following], np.int64),
        }
        own, values, ids = self._request.infer(inputs).values()
        self._log_probs += own[0, :, 0].tolist()
        if tops:
            pairs = zip(ids[0, :, :tops].tolist(), values[0, :, :tops].tolist(), strict=True)
            self._top_log_probs += [list(zip(*pair, strict=True)) for pair in pairs]

    def _scored(self) -> ov.Model:
        """The model with log probs in place of its logits: [1, tokens, 1] and, of the likeliest, two of [1, tokens, n]."""
        model = ov.Core().read_model(self._file)
        logits = model.output("logits").get_node().input_value(0)
        log_probs = op.log_softmax(op.convert(logits, "f32"), -1)
        following = op.parameter([-1, -1], np.int64, name=_NEXT_IDS)
        following.output(0).get_tensor().set_names({_NEXT_IDS})
        axis = op.constant(np.array(-1, np.int64))
        own = op.gather_elements(log_probs, op.unsqueeze(following, axis), -1)
        tops = op.topk(
            log_probs, op.constant(np.array(self._tops, np.int64)), -1, "max", "value", index_element_type="i64"
        )
        results = [op.result(output) for output in (own.output(0), tops.output(0), tops.output(1))]
        return ov.Model(results, model.get_sinks(), [*model.get_parameters(), following], "scorer")
