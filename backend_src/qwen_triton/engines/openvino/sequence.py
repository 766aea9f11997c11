"""One request in the pipeline, and what it gained in a step as our chunks."""

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
class Running:
    """A request that the pipeline works on; `tokens` counts what it has produced, all beams together."""

    request: EngineRequest
    handle: genai.GenerationHandle
    tokens: int = 0

    def gained(self) -> list[TokenChunk]:
        """What is new since the last call; after a chunk with `finish` there is nothing more to ask for."""
        chunks: list[TokenChunk] = []
        # A read() with nothing to read blocks for ever, and every thread of the process with it.
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
        """The best beams, best first. All come when the search ends; those of one that was cut off do not count."""
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
        """What was read of one sequence or beam; the id that ended it is taken out of its tokens."""
        ids, log_probs = list(output.generated_ids), list(output.generated_log_probs)
        finish = _FINISH.get(output.finish_reason)
        wanted = self.request.sampling.logprobs is not None
        stop = ids[-1] if finish == "stop" and ids and ids[-1] in stop_ids(self.request) else None
        kept = len(ids) - (stop is not None)
        return TokenChunk(
            token_ids=ids[:kept],
            log_probs=log_probs[:kept] if wanted else (),
            finish=finish,
            stop_token=stop,
            cum_log_prob=output.score if finish and wanted else None,
        )

    def _cut_off(self) -> TokenChunk:
        """The last chunk of a sequence that the scheduler dropped because it outgrew the cache."""
        if self.tokens and not self._is_search():
            return TokenChunk(finish="length")
        return TokenChunk(finish="error", error="the request does not fit into the key/value cache; raise cache_gib")
