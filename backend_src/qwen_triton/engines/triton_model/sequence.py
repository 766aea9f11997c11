"""Reads the responses to one sequence in an engine that is a Triton model, and finds out why it ended."""

from __future__ import annotations

from collections.abc import Iterator

from ...kserve.messages import InferResponse
from ...tensors.engine_outputs import OUTPUTS, decode_beams, decode_token_ids, finish_reason
from ...types import EngineRequest, TokenChunk

_IDS = OUTPUTS[0]
"""A response that only ends its request does not have this output."""


class ModelSequence:
    """Counts tokens, because the model does not report whether a sequence ended by its length."""

    __slots__ = ("_beams", "_max_tokens", "_tokens", "begun", "plain")

    def __init__(self, request: EngineRequest) -> None:
        self.plain = request.sampling.beam_width == 1 and request.sampling.logprobs is None
        """Whether it has one beam and needs no log probs."""
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
        elif not self.plain:
            yield from self._take_beams(response)
        else:
            ids = decode_token_ids(outputs) if _IDS in outputs else []
            self._tokens += len(ids)
            if response.final:
                yield TokenChunk(ids, finish=finish_reason(self._tokens, self._max_tokens))
            elif ids:
                yield TokenChunk(ids)

    def _take_beams(self, response: InferResponse) -> Iterator[TokenChunk]:
        if _IDS in response.outputs:
            chunks = decode_beams(response.outputs)
            self._beams = len(chunks)
            self._tokens += len(chunks[0].token_ids)
            yield from chunks
        if response.final:
            finish = finish_reason(self._tokens, self._max_tokens)
            for beam in range(self._beams):
                yield TokenChunk([], finish=finish, sequence=beam, last=beam == self._beams - 1)
