"""Limits of the OpenVINO engine: ids inside the vocabulary, lengths inside context and cache.

The pipeline accepts any id and any length silently, so a request is checked before it is submitted.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import InvalidRequest
from ...tensors.contract import END_ID, INPUT_IDS, STOP_TOKEN_IDS
from ...types import EngineRequest
from .cache import BLOCK_TOKENS


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """Lengths in tokens; `batch` is the most sequences in one step."""

    vocab: int
    context: int
    cache: int
    batch: int

    def admit(self, request: EngineRequest) -> int:
        """The number of tokens that a request may generate. Raises InvalidRequest, with the field, if it does not fit."""
        self._check_ids(request)
        room = self.context - len(request.token_ids)
        max_tokens = max(1, room) if request.sampling.max_tokens is None else request.sampling.max_tokens
        if max_tokens > room:
            raise InvalidRequest(
                f"{len(request.token_ids)} prompt tokens and {max_tokens} to generate exceed the context of "
                f"{self.context}; shorten the prompt or lower max_tokens",
                "max_tokens",
            )
        if request.sampling.beam_width > 1:
            self._check_beams(request, max_tokens)
        return max_tokens

    def _check_ids(self, request: EngineRequest) -> None:
        if not request.token_ids:
            raise InvalidRequest("the prompt is empty; give at least one token", INPUT_IDS)
        checked = {INPUT_IDS: request.token_ids, END_ID: request.end_ids, STOP_TOKEN_IDS: request.stop_token_ids}
        for field, ids in checked.items():
            wrong = [token for token in ids if not 0 <= token < self.vocab]
            if wrong:
                raise InvalidRequest(f"{wrong[0]} is outside the vocabulary (0 to {self.vocab - 1})", field)

    def _check_beams(self, request: EngineRequest, max_tokens: int) -> None:
        """Refuses a beam search that could outgrow batch or cache: the scheduler would cut it off without a usable beam."""
        beams = request.sampling.beam_width
        if beams > self.batch:
            raise InvalidRequest(f"must not be larger than the engine's batch ({self.batch})", "beam_width")
        needed = len(request.token_ids) + beams * (max_tokens + BLOCK_TOKENS)
        if needed > self.cache:
            raise InvalidRequest(
                f"{beams} beams of {max_tokens} tokens need a cache for {needed} tokens, there is one for "
                f"{self.cache}; lower it or max_tokens",
                "beam_width",
            )
