"""Reads the responses to one sequence in an engine that is a Triton model, and finds out why it ended."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ...errors import InvalidRequest, QwenTritonError, Unavailable
from ...kserve.messages import InferResponse
from ...tensors.contract import LORA_TASK_ID
from ...tensors.engine_outputs import (
    LOG_PROB_OUTPUTS,
    METRIC_OUTPUTS,
    OUTPUTS,
    decode_beams,
    decode_metrics,
    decode_token_ids,
    finish_reason,
)
from ...types import EngineRequest, TokenChunk

_SOURCE_LINE = re.compile(r"\s*\(/\S+:\d+\)\s*$")
"""Where in the backend's source an assertion is, at the end of its message."""
_IDS = OUTPUTS[0]
"""A response that only ends its request does not have this output."""


class ModelSequence:
    """Counts tokens, because the model does not report whether a sequence ended by its length."""

    __slots__ = ("_beams", "_lora", "_max_tokens", "_metrics", "_plain", "_tokens", "begun", "outputs")

    def __init__(self, request: EngineRequest) -> None:
        numbers = request.sampling.beam_width > 1 or request.sampling.logprobs is not None
        self.outputs = (
            *OUTPUTS,
            *(LOG_PROB_OUTPUTS if numbers else ()),
            *(METRIC_OUTPUTS if request.perf_metrics else ()),
        )
        """The outputs to ask the model for."""
        self._plain = not (numbers or request.perf_metrics)
        """Whether it has one beam and needs nothing but ids."""
        self._lora = request.lora_task is not None
        self._metrics: dict[str, bytes] | None = None
        self.begun = False
        """Whether there was a response."""
        self._max_tokens = request.sampling.max_tokens
        self._tokens = 0
        self._beams = 1

    def take(self, response: InferResponse) -> Iterator[TokenChunk]:
        """Of its only beam a piece; of several a piece each, and their ends after them. Hot for the former."""
        self.begun = True
        outputs = response.outputs
        if response.error:
            yield TokenChunk([], finish="error", error=response.error)
        elif not self._plain:
            yield from self._take_beams(response)
        else:
            ids = decode_token_ids(outputs) if _IDS in outputs else []
            self._tokens += len(ids)
            if response.final:
                yield TokenChunk(ids, finish=finish_reason(self._tokens, self._max_tokens))
            elif ids:
                yield TokenChunk(ids)

    def refusal(self, error: str) -> QwenTritonError | None:
        """The refusal of a request whose adapter the backend does not take, of the backend's error; None for any other.

        The backend says so for an adapter that has left its cache: whoever has the weights sends them once more. A cache
        whose adapters are all in use has room later.
        """
        told = error.lower() if self._lora else ""
        if "cache is full" in told:
            return Unavailable("the engine's cache of adapters is full; try again later")
        if "lora" not in told:
            return None
        reason = error.splitlines()[0].rpartition("error: ")[2]
        return InvalidRequest(_SOURCE_LINE.sub("", reason), LORA_TASK_ID)

    def _take_beams(self, response: InferResponse) -> Iterator[TokenChunk]:
        self._metrics = decode_metrics(response.outputs) or self._metrics
        if _IDS in response.outputs:
            chunks = decode_beams(response.outputs)
            self._beams = len(chunks)
            self._tokens += len(chunks[0].token_ids)
            yield from (chunk._replace(metrics=self._metrics) for chunk in chunks)
        if response.final:
            finish = finish_reason(self._tokens, self._max_tokens)
            for beam in range(self._beams):
                last = beam == self._beams - 1
                yield TokenChunk([], finish=finish, sequence=beam, last=last, metrics=self._metrics)
