"""The CPU engine: openvino-genai's continuous batching behind our step protocol.

Knows token ids only. `step()` of the library keeps Python's global lock for its whole length, so this belongs into a
process of its own.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai as genai

from ..errors import ConfigurationError, InvalidRequest
from ..types import EngineRequest, FinishReason, TokenChunk
from .capabilities import check_honoured
from .checkpoint import read_json_object
from .hub import resolve_model
from .openvino_convert import convert_cached
from .openvino_options import BLOCK_TOKENS, PROFILES, ModelSizes, OpenVinoOptions, cache_blocks, scheduler
from .openvino_sampling import generation_config, stop_ids
from .step import Counters, EngineInfo, Key

__all__ = ["OpenVinoEngine", "OpenVinoOptions"]
_log = logging.getLogger(__name__)
_IR = "openvino_model.xml"
_FINISH: dict[genai.GenerationFinishReason, FinishReason] = {
    genai.GenerationFinishReason.STOP: "stop",
    genai.GenerationFinishReason.LENGTH: "length",
}
BuildPipeline = Callable[..., genai.ContinuousBatchingPipeline]
"""Makes a pipeline from (folder, scheduler, device, properties)."""


@dataclass(slots=True)
class _Sequence:
    """A request that the pipeline works on; `tokens` counts what it has produced."""

    request: EngineRequest
    stops: frozenset[int]
    handle: genai.GenerationHandle
    tokens: int = 0


class OpenVinoEngine:
    """A StepEngine. Loading converts the checkpoint the first time; ConfigurationError tells what it cannot load."""

    def __init__(self, options: OpenVinoOptions, build: BuildPipeline = genai.ContinuousBatchingPipeline) -> None:
        folder = _model_folder(options)
        sizes = ModelSizes.from_config(read_json_object(folder / "config.json"))
        blocks = cache_blocks(options, sizes, (folder / _IR).with_suffix(".bin").stat().st_size)
        self.info = EngineInfo("openvino", min(sizes.max_positions, blocks * BLOCK_TOKENS), sizes.vocab)
        self.counters = Counters()
        self._max_num_seqs = options.max_num_seqs
        self._build = partial(build, folder, scheduler(options, blocks), "CPU", options.properties())
        self._ids = itertools.count()  # the pipeline breaks when an id comes twice, so callers' keys are kept out
        self._running: dict[Key, _Sequence] = {}
        self._outbox: list[tuple[Key, TokenChunk]] = []
        self._pipeline: genai.ContinuousBatchingPipeline | None = self._build()

    def add(self, key: Key, request: EngineRequest) -> None:
        """Takes a sequence; see StepEngine. A fault of the pipeline itself comes out of the next step()."""
        check_honoured("openvino", request)
        config = generation_config(request, self._check(request))
        self.counters.requests += 1
        ids = ov.Tensor(np.array([request.token_ids], dtype=np.int64))
        try:
            if self._pipeline is None:
                self._pipeline = self._build()
            handle = self._pipeline.add_request(next(self._ids), ids, config)
        except RuntimeError as error:
            self._outbox.append((key, TokenChunk(finish="error", error=str(error))))
            return
        self._running[key] = _Sequence(request, stop_ids(request), handle)

    def _check(self, request: EngineRequest) -> int:
        """The most tokens this request may produce. The pipeline itself takes any id and any length silently."""
        named = (("token_ids", request.token_ids), ("end_ids", request.end_ids))
        for field, ids in (*named, ("stop_token_ids", request.stop_token_ids)):
            wrong = [token for token in ids if not 0 <= token < self.info.vocab_size]
            if wrong:
                raise InvalidRequest(f"{wrong[0]} is outside the vocabulary (0 to {self.info.vocab_size - 1})", field)
        if not request.token_ids:
            raise InvalidRequest("the prompt is empty; give at least one token", "token_ids")
        room = self.info.max_context - len(request.token_ids)
        max_tokens = max(1, room) if request.sampling.max_tokens is None else request.sampling.max_tokens
        if max_tokens > room:
            raise InvalidRequest(
                f"{len(request.token_ids)} prompt tokens and {max_tokens} to generate exceed the context of "
                f"{self.info.max_context}; shorten the prompt or lower max_tokens",
                "max_tokens",
            )
        if request.sampling.beam_width > self._max_num_seqs:
            raise InvalidRequest(f"must not be larger than the engine's batch ({self._max_num_seqs})", "beam_width")
        return max_tokens

    def cancel(self, key: Key) -> None:
        """Lets go of a sequence; its cache blocks are free after the next step."""
        sequence = self._running.pop(key, None)
        if sequence is not None:
            sequence.handle.cancel()
            self.counters.cancelled += 1
        self._outbox = [(other, chunk) for other, chunk in self._outbox if other != key]

    def wait_s(self) -> float | None:
        """0 while anything is in the pipeline, a cancelled sequence too, or waits to be handed out."""
        busy = self._outbox or (self._pipeline is not None and self._pipeline.has_non_finished_requests())
        return 0.0 if busy else None

    def step(self) -> Sequence[tuple[Key, TokenChunk]]:
        """Advances everything by one token; after a failure of the pipeline all its sequences end with an error."""
        chunks, self._outbox = self._outbox, []
        try:
            if self._pipeline is not None and self._pipeline.has_non_finished_requests():
                self._pipeline.step()
                self.counters.steps += 1
                for key, sequence in list(self._running.items()):
                    chunks += [(key, chunk) for chunk in self._gained(key, sequence)]
        except Exception as error:  # any C++ exception may come; whichever it is, the pipeline is broken afterwards
            _log.exception("the pipeline failed and is built anew")
            chunks += self._fail_all(error)
        self._count()
        return chunks

    def _gained(self, key: Key, sequence: _Sequence) -> list[TokenChunk]:
        """What a sequence gained in the last step. A read with nothing to read would never return."""
        chunks: list[TokenChunk] = []
        while key in self._running and sequence.handle.can_read():
            outputs = sorted(sequence.handle.read().values(), key=lambda output: -output.score)
            sequence.tokens += sum(len(output.generated_ids) for output in outputs)
            best = outputs[: sequence.request.sampling.n] if sequence.request.sampling.beam_width > 1 else outputs
            chunks += [_chunk(sequence, output, index, index == len(best) - 1) for index, output in enumerate(best)]
            if any(chunk.finish for chunk in chunks):
                self._end(key)
        if key in self._running and sequence.handle.get_status() != genai.GenerationStatus.RUNNING:
            chunks.append(_cut_off(sequence))
            self._end(key)
        return chunks

    def _end(self, key: Key) -> None:
        sequence = self._running.pop(key)
        self.counters.finished += 1
        self.counters.tokens += sequence.tokens

    def _fail_all(self, error: Exception) -> list[tuple[Key, TokenChunk]]:
        """Ends every sequence with an error and loads a new pipeline; the old one would leak its cache blocks."""
        failed = [(key, TokenChunk(finish="error", error=str(error))) for key in self._running]
        self.counters.extra["pipeline_failures"] = self.counters.extra.get("pipeline_failures", 0) + 1
        for key in list(self._running):
            self._end(key)
        self._pipeline = None
        try:
            self._pipeline = self._build()
        except (RuntimeError, MemoryError, ConfigurationError):
            _log.exception("no new pipeline could be built; the next request tries again")
        return failed

    def _count(self) -> None:
        counters, waiting = self.counters, 0
        if self._pipeline is not None:
            metrics = self._pipeline.get_metrics()
            waiting = max(0, len(self._running) - metrics.scheduled_requests)
            counters.extra["kv_cache_usage"] = metrics.cache_usage / 100 if self._running else 0.0
            counters.extra["kv_cache_bytes"] = float(metrics.cache_size_in_bytes)
        counters.running, counters.waiting = len(self._running) - waiting, waiting

    def close(self) -> None:
        """Gives the model's memory and threads back."""
        self._running.clear()
        self._pipeline = None


def _model_folder(options: OpenVinoOptions) -> Path:
    """The folder with the graph: converted from a checkpoint, or as it is when it was exported elsewhere."""
    folder = resolve_model(options.model, options.hub)
    weights = PROFILES[options.profile].weights
    if not (folder / _IR).is_file():
        cache = None if options.conversion_cache is None else Path(options.conversion_cache).expanduser()
        return convert_cached(folder, weights, cache)
    if weights != "stored":
        raise ConfigurationError(
            f"profile: {options.profile} needs a checkpoint to convert, {folder} is OpenVINO's format already; "
            "use the profile exact or bf16"
        )
    return folder


def _chunk(sequence: _Sequence, output: genai.GenerationOutput, index: int, last: bool) -> TokenChunk:
    """What was read of one sequence or beam; the id that ended it is taken out of its tokens."""
    ids, log_probs = list(output.generated_ids), list(output.generated_log_probs)
    finish = _FINISH.get(output.finish_reason)
    beams, wanted = sequence.request.sampling.beam_width > 1, sequence.request.sampling.logprobs is not None
    total = (sum(log_probs) if beams else output.score) if finish and (beams or wanted) else None
    stop = ids[-1] if finish == "stop" and ids and ids[-1] in sequence.stops else None
    kept = len(ids) - (stop is not None)
    return TokenChunk(
        token_ids=ids[:kept],
        log_probs=log_probs[:kept] if wanted else (),
        finish=finish,
        stop_token=stop,
        sequence=index,
        cum_log_prob=total,
        last=last,
    )


def _cut_off(sequence: _Sequence) -> TokenChunk:
    """The last chunk of a sequence that the scheduler dropped because it cannot fit the cache."""
    if sequence.tokens:
        return TokenChunk(finish="length")
    return TokenChunk(finish="error", error="the prompt does not fit into the key/value cache; raise cache_gib")
