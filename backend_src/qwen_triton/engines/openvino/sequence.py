"""A sequence in openvino-genai's pipeline: turns its new outputs into TokenChunks."""

from __future__ import annotations

from dataclasses import dataclass

import openvino_genai as genai

from ...types import EngineRequest, FinishReason, TokenChunk
from .sampling import stop_ids

_FINISH: dict[genai.GenerationFinishReason, FinishReason] = {
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}


@dataclass(slots=True)
class RunningSequence:
    """A request with its generation handle; `tokens` counts the ids produced so far, all beams together."""

    request: EngineRequest
    handle: genai.GenerationHandle
    tokens: int = 0

    def read_chunks(self) -> list[TokenChunk]:
        """Chunks since the last call; none follows one with `finish`."""
        chunks: list[TokenChunk] = []
        # read() without a pending output blocks for ever and holds Python's global lock, so can_read() comes first.
        while not (chunks and chunks[-1].finish) and self.handle.can_read():
            outputs = list(self.handle.read().values())
            self.tokens += sum(len(output.generated_ids) for output in outputs)
            chunks += self._beams(outputs) if self._is_search() else [self._chunk(output) for output in outputs]
        if not (chunks and chunks[-1].finish) and self.handle.get_status() != genai.GenerationStatus.RUNNING:
            chunks.append(self._cut_off())
        return chunks

    def _is_search(self) -> bool:
        return self.request.sampling.beam_width > 1

    def _beams(self, outputs: list[genai.GenerationOutput]) -> list[TokenChunk]:
        """The `n` best beams, best first. The library yields all when the search ends; none if it was cut off."""
        if any(output.finish_reason not in _FINISH for output in outputs):
            return []
        best = sorted(outputs, key=lambda output: -output.score)[: self.request.sampling.n]
        return [
            self._chunk(output)._replace(
                sequence=index,
                cum_log_prob=sum(output.generated_log_probs),
                last=index == len(best) - 1,
            )
            for index, output in enumerate(best)
        ]

    def _chunk(self, output: genai.GenerationOutput) -> TokenChunk:
        """One output of a sequence or beam as a chunk; the stop id that ended it is not among its tokens.

        The library has the log prob of the chosen token alone, which is the likeliest where capabilities lets `logprobs` be 1.
        """
        ids, log_probs = list(output.generated_ids), list(output.generated_log_probs)
        finish = _FINISH.get(output.finish_reason)
        wanted = self.request.sampling.logprobs is not None
        stop = ids[-1] if finish == "stop" and ids and ids[-1] in stop_ids(self.request) else None
        kept = len(ids) - (stop is not None)
        likeliest = (
            [[pair] for pair in zip(ids[:kept], log_probs, strict=False)] if self.request.sampling.logprobs else ()
        )
        return TokenChunk(
            token_ids=ids[:kept],
            log_probs=log_probs[:kept] if wanted else (),
            top_log_probs=likeliest,
            finish=finish,
            stop_token=stop,
            cum_log_prob=output.score if finish and wanted else None,
        )

    def _cut_off(self) -> TokenChunk:
        """The last chunk of a sequence that the scheduler dropped because it outgrew the cache."""
        if self.tokens and not self._is_search():
            return TokenChunk(finish="length")
        return TokenChunk(finish="error", error="the request does not fit into the key/value cache; raise cache_gib")
