"""The OpenVINO engine: openvino-genai's continuous batching as a StepEngine.

Knows token ids only. The library's `step()` holds Python's global lock until it returns, so the engine runs in a process
of its own.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from ...checkpoint.hub import resolve_model
from ...checkpoint.json_file import read_json_object
from ...checkpoint.weights import REMEDY
from ...errors import ConfigurationError
from ...types import EngineRequest, PromptLogProbs, TokenChunk
from ..capabilities import check_honoured
from ..engine import Counters, EngineInfo, FormKeeping, Key, Queue
from .cache import BLOCK_TOKENS, ModelSizes, cache_blocks, scheduler
from .convert import convert_cached
from .grammars.compiler import GrammarCompiler, GrammarOutcome
from .grammars.vocabulary import has_vocabulary
from .options import OpenVinoOptions
from .profiles import PROFILES, cpu_capabilities, plugin_properties
from .prompt_scorer import PromptScorer
from .sampling import EngineLimits, generation_config
from .sequence import RunningSequence

_log = logging.getLogger(__name__)
_IR = "openvino_model.xml"
BuildPipeline = Callable[..., genai.ContinuousBatchingPipeline]
"""Makes a pipeline from (folder, scheduler, device, properties)."""


_COMPILING_S = 0.005
_GRAMMAR_BYTES = 512 << 20
"""Of compiled grammars: from here on a new pipeline is built when nothing runs; from twice as much nothing is compiled and
nothing joins until then."""
_NOTHING = GrammarOutcome()


class OpenVinoEngine:
    """A StepEngine on a dense Qwen checkpoint, which is converted on first use.

    Raises ConfigurationError for a checkpoint or a profile that it cannot load.
    """

    def __init__(self, options: OpenVinoOptions, build: BuildPipeline = genai.ContinuousBatchingPipeline) -> None:
        properties = plugin_properties(options, cpu_capabilities())
        folder = _model_folder(options)
        sizes = ModelSizes.from_config(read_json_object(folder / "config.json", REMEDY))
        blocks = cache_blocks(options, sizes, (folder / _IR).with_suffix(".bin").stat().st_size)
        self._tokenizer: genai.Tokenizer | None = None
        forms: FormKeeping = "marks" if has_vocabulary(folder) else ""
        self.info = EngineInfo("openvino", min(sizes.max_positions, blocks * BLOCK_TOKENS), sizes.vocab, forms=forms)
        self.counters = Counters()
        self._queue = Queue(self.counters)
        self._form_compile_s = options.form_compile_s
        self._limits = EngineLimits(sizes.vocab, self.info.max_context, blocks * BLOCK_TOKENS, options.max_num_seqs)
        self._folder, self._grammars = folder, None if not forms else self._new_compiler(folder)
        self._new_pipeline = partial(_pipeline, build, folder, scheduler(options, blocks), properties)
        self._batch = options.max_num_seqs
        self._new_scorer = partial(PromptScorer, folder / _IR, properties, sizes.vocab)
        self._scorer = self._new_scorer()
        self._scoring: dict[Key, tuple[EngineRequest, genai.GenerationConfig]] = {}
        """Sequences that wait for the log probs of their prompts; they join the batch with these."""
        self._prompts: dict[Key, PromptLogProbs] = {}
        self._ids = (
            itertools.count()
        )  # the pipeline breaks when an id is used twice; the process's keys start anew with it
        self._waiting: dict[Key, tuple[EngineRequest, genai.GenerationConfig]] = {}
        self._running: dict[Key, RunningSequence] = {}
        self._pipeline: genai.ContinuousBatchingPipeline | None = self._build()

    def _build(self) -> genai.ContinuousBatchingPipeline:
        return self._new_pipeline(self._tokenizer)

    def _new_compiler(self, folder: Path) -> GrammarCompiler:
        self._tokenizer = genai.Tokenizer(folder)
        return GrammarCompiler(
            folder, self._tokenizer, self.info.vocab_size - 1, self._form_compile_s, 2 * _GRAMMAR_BYTES
        )

    def add(self, key: Key, request: EngineRequest) -> None:
        """Queues a sequence (see StepEngine); it joins the batch at the first step with room for it."""
        check_honoured("openvino", request)
        entry = (request, generation_config(request, self._limits.admit(request)))
        if self._grammars is not None and request.grammar:
            self._grammars.add(request.grammar)
        if request.sampling.prompt_logprobs is None:
            self._waiting[key] = entry
        else:
            self._scoring[key] = entry
            self._scorer.add(key, request.token_ids, request.sampling.prompt_logprobs)
        self._queue.arrive(key)
        self._count()

    def cancel(self, key: Key) -> None:
        """Drops a sequence; its cache blocks are free after the next step."""
        running = self._running.pop(key, None)
        if running is not None:
            running.handle.cancel()
        self._prompts.pop(key, None)
        scoring, waiting = self._scoring.pop(key, None), self._waiting.pop(key, None)
        if scoring is not None:
            self._scorer.cancel(key)
        if (queued := scoring or waiting) is not None:
            self._leave_grammar(queued[0])
        elif running is None:
            return
        self.counters.cancelled += 1
        self._queue.leave(key)
        self._count()

    def waits(self, key: Key) -> bool:
        """Whether a sequence has not joined the batch yet."""
        return key in self._waiting or key in self._scoring

    def wait_s(self) -> float | None:
        """0 while sequences wait or are in the pipeline; a cancelled one is there until the next step.

        A moment while all that wait do so for their grammar.
        """
        if self._scoring or self._busy() or any(self._outcome(r) for r, _ in self._waiting.values()):
            return 0.0
        return _COMPILING_S if self._waiting else None

    def _outcome(self, request: EngineRequest) -> GrammarOutcome | None:
        """What came of a sequence's grammar; None while it is being compiled."""
        return _NOTHING if self._grammars is None or not request.grammar else self._grammars.outcome(request.grammar)

    def _leave_grammar(self, request: EngineRequest) -> None:
        if self._grammars is not None and request.grammar:
            self._grammars.leave(request.grammar)

    def _busy(self) -> bool:
        return self._pipeline is not None and bool(self._pipeline.has_non_finished_requests())

    def step(self) -> Sequence[tuple[Key, TokenChunk]]:
        """Advances everything by one token, and a prompt whose log probs are wanted by a part.

        After a failure of the pipeline all its sequences end with an error.
        """
        self._forget_grammars()
        chunks = self._score() + self._join()
        try:
            if self._pipeline is not None and self._busy():
                self._pipeline.step()
                self.counters.steps += 1
                for key in list(self._running):
                    chunks += [(key, chunk) for chunk in self._read_chunks(key)]
        except Exception as error:  # the pipeline is unusable after any C++ exception
            _log.exception("the pipeline failed and is rebuilt")
            chunks += self._fail_all(error)
        self._count()
        return chunks

    def _held(self, times: int) -> bool:
        """Whether compiled grammars take more than so many times the memory that they may."""
        return self._grammars is not None and self._grammars.held_bytes > _GRAMMAR_BYTES * times

    def _forget_grammars(self) -> None:
        """A new pipeline for many grammars: the library keeps each it has compiled, without a bound. Only when nothing runs."""
        if self._grammars is None or not self._held(1) or self._running or self._busy():
            return
        if any(request.grammar and self._outcome(request) for request, _ in self._waiting.values()):
            return  # it would have to be compiled again
        self._grammars.close()
        self._pipeline = None
        self._grammars = self._new_compiler(self._folder)
        for request, _ in (*self._waiting.values(), *self._scoring.values()):
            if request.grammar:
                self._grammars.add(request.grammar)
        self._pipeline = self._build()

    def _score(self) -> list[tuple[Key, TokenChunk]]:
        """Goes on with the log probs of a prompt; returns the errors of those that wait for theirs after a failure."""
        if not self._scoring:
            return []
        try:
            found = self._scorer.step()
        except (RuntimeError, MemoryError) as error:
            _log.exception("the log probs of a prompt failed")
            failed = [(key, TokenChunk(finish="error", error=str(error))) for key in self._scoring]
            for key, (request, _) in self._scoring.items():
                self._queue.leave(key)
                self._leave_grammar(request)
            self.counters.finished += len(failed)
            self._scoring.clear()
            self._scorer = self._new_scorer()
            return failed
        if found is not None:
            key, self._prompts[found[0]] = found
            self._waiting[key] = self._scoring.pop(key)
        return []

    def _join(self) -> list[tuple[Key, TokenChunk]]:
        """Submits waiting sequences in order of arrival while the batch has room; returns the errors of rejected ones.

        The pipeline's own bound (max_num_seqs) does not hold when long prompts are split, so the batch is bounded here.
        """
        errors: list[tuple[Key, TokenChunk]] = []
        if self._held(2) and (self._running or self._busy()):
            return errors
        taken = sum(running.request.sampling.beam_width for running in self._running.values())
        for key, (request, config) in list(self._waiting.items()):
            outcome = self._outcome(request)
            if outcome is None:
                continue
            taken += request.sampling.beam_width
            if taken > self._batch:
                break
            del self._waiting[key]
            self._leave_grammar(request)
            self._queue.start(key)
            if outcome.refusal:
                errors.append((key, TokenChunk(finish="refused", error=outcome.refusal)))
                continue
            try:
                if outcome.failure:
                    raise RuntimeError(outcome.failure)
                self._running[key] = RunningSequence(request, self._submit(request, config))
            except RuntimeError as error:
                errors.append((key, TokenChunk(finish="error", error=str(error))))
        self.counters.finished += len(errors)
        return errors

    def _submit(self, request: EngineRequest, config: genai.GenerationConfig) -> genai.GenerationHandle:
        if self._pipeline is None:
            self._pipeline = self._build()
        ids = ov.Tensor(np.array([request.token_ids], dtype=np.int64))
        return self._pipeline.add_request(next(self._ids), ids, config)

    def _read_chunks(self, key: Key) -> list[TokenChunk]:
        running = self._running[key]
        before = running.tokens
        chunks = running.read_chunks()
        if chunks and key in self._prompts:
            chunks[0] = chunks[0]._replace(prompt=self._prompts.pop(key))
        self.counters.tokens += running.tokens - before
        if chunks and chunks[-1].finish:
            del self._running[key]
            self.counters.finished += 1
        return chunks

    def _fail_all(self, error: Exception) -> list[tuple[Key, TokenChunk]]:
        """Ends every sequence with an error and loads a new pipeline; the old one would leak its cache blocks."""
        failed = [(key, TokenChunk(finish="error", error=str(error))) for key in self._running]
        self.counters.extra["pipeline_failures"] = self.counters.extra.get("pipeline_failures", 0) + 1
        self.counters.finished += len(failed)
        for key in self._running:
            self._prompts.pop(key, None)
        self._running.clear()
        self._pipeline = None
        try:
            self._pipeline = self._build()
        except (RuntimeError, MemoryError, ConfigurationError):
            _log.exception("no new pipeline could be built; the next request tries again")
        return failed

    def _count(self) -> None:
        self.counters.running, self.counters.waiting = len(self._running), len(self._waiting) + len(self._scoring)
        if self._pipeline is not None:
            metrics = self._pipeline.get_metrics()
            self.counters.extra["kv_cache_usage"] = metrics.cache_usage / 100 if self._running else 0.0
            self.counters.extra["kv_cache_bytes"] = float(metrics.cache_size_in_bytes)

    def close(self) -> None:
        """Frees the model's memory and threads; running sequences end without a last chunk."""
        for key in [*self._scoring, *self._waiting, *self._running]:
            self.cancel(key)
        if self._busy():
            self.step()
        self._pipeline = None
        if self._grammars is not None:
            self._grammars.close()


def _pipeline(
    build: BuildPipeline,
    folder: Path,
    batches: genai.SchedulerConfig,
    properties: Mapping[str, Any],
    tokenizer: genai.Tokenizer | None,
) -> genai.ContinuousBatchingPipeline:
    if tokenizer is None:
        return build(folder, batches, "CPU", properties)
    return build(folder, tokenizer, batches, "CPU", **properties)


def _model_folder(options: OpenVinoOptions) -> Path:
    """The folder with the graph: converted from a checkpoint, or as it is when it was exported elsewhere."""
    folder = resolve_model(options.model, options.hub)
    weights = PROFILES[options.profile].weights
    if not (folder / _IR).is_file():
        cache = None if options.conversion_cache is None else Path(options.conversion_cache).expanduser()
        return convert_cached(folder, weights, cache)
    if weights != "stored":
        raise ConfigurationError(
            f"engine.profile: {options.profile} needs a checkpoint to convert, {folder} is OpenVINO's format already; "
            "use the profile exact or bf16"
        )
    return folder
