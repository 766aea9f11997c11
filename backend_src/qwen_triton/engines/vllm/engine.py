"""A StepEngine over vLLM's engine core. The core steps by itself; a step here takes what it has put out since the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...checkpoint.hub import resolve_model
from ...types import EngineRequest, TokenChunk
from ..capabilities import check_request
from ..engine import Counters, EngineInfo, FormKeeping, Key
from ..gpu.adapters import read_adapters
from .core import VllmCore
from .options import VllmOptions
from .outputs import prompt_log_probs, token_chunk
from .sampling import CoreBounds, sampling_arguments
from .startup import STARTUP
from .statistics import add_events, add_step

_WAIT_S = 0.002
"""How long a step waits for the core; a request that arrives meanwhile waits as long."""


@dataclass(slots=True)
class _Live:
    stop_ids: frozenset[int]
    logprobs: int | None
    prompt_logprobs: int | None
    cached_tokens: int = 0
    begun: bool = False


class VllmEngine:
    """The vLLM engine. Raises ConfigurationError when vLLM cannot be loaded or does not start.

    A core that dies ends this process (CoreDied, a SystemExit), whichever method notices.
    """

    def __init__(self, options: VllmOptions) -> None:
        adapters = read_adapters(options.lora, "vLLM")
        room = options.adapter_arguments(adapters)
        model = str(resolve_model(options.model, options.hub, options.revision))
        with STARTUP.explained():
            self._core = VllmCore(model, {**options.arguments(), **room})
        try:
            for adapter in adapters:
                self._core.load_adapter(adapter)
        except BaseException:
            self._core.close()
            raise
        self._bounds = CoreBounds(
            self._core.max_context, self._core.vocab_size, options.max_logprobs, options.speculative_config is not None
        )
        forms: FormKeeping = "text" if self._core.has_tokenizer else ""
        self.info = EngineInfo(
            "vllm",
            self._core.max_context,
            self._core.vocab_size,
            honours=("priority",) if options.scheduling_policy == "priority" else (),
            adapters=tuple(options.lora),
            forms=forms,
        )
        self.counters = Counters()
        self._live: dict[Key, _Live] = {}

    def add(self, key: Key, request: EngineRequest) -> None:
        """Adds a sequence. Raises InvalidRequest for a value that vLLM does not take."""
        check_request(self.info, request)
        arguments, sampling = sampling_arguments(request, self._bounds), request.sampling
        self._core.add(str(key), request.token_ids, arguments, request.lora_name, sampling.priority or 0)
        self._live[key] = _Live(frozenset(arguments["stop_token_ids"]), sampling.logprobs, sampling.prompt_logprobs)
        self.counters.requests += 1

    def cancel(self, key: Key) -> None:
        if self._live.pop(key, None) is None:
            return
        self.counters.cancelled += 1
        self._forget_states()
        self._core.cancel(str(key))

    def waits(self, key: Key) -> bool:
        """Whether a sequence has had no token yet: the core does not say sooner that it has a slot."""
        live = self._live.get(key)
        return live is not None and not live.begun

    def wait_s(self) -> float | None:
        return 0.0 if self._live else None

    def step(self) -> list[tuple[Key, TokenChunk]]:
        chunks: list[tuple[Key, TokenChunk]] = []
        for outputs in self._core.outputs(_WAIT_S):
            self.counters.steps += bool(outputs.outputs)
            if outputs.scheduler_stats is not None:
                add_step(self.counters, outputs.scheduler_stats)
            for output in outputs.outputs:
                self._take(output, chunks)
        self._forget_states()
        return chunks

    def close(self) -> None:
        self._core.close()

    def _forget_states(self) -> None:
        """An idle core makes no steps, so the statistics of its last step would stand for ever."""
        if not self._live:
            self.counters.running = self.counters.waiting = 0

    def _take(self, output: Any, chunks: list[tuple[Key, TokenChunk]]) -> None:
        key = int(output.request_id)
        live = self._live.get(key)
        if live is None:  # cancelled while its output was under way
            return
        if output.events:
            add_events(self.counters, output.events)
        if output.prefill_stats is not None:
            live.cached_tokens = output.prefill_stats.num_cached_tokens
        self.counters.tokens += len(output.new_token_ids)
        chunk = token_chunk(output, live.stop_ids, live.logprobs, live.cached_tokens)
        if not live.begun:
            live.begun = True
            if live.prompt_logprobs is not None:
                found = prompt_log_probs(output.new_prompt_logprobs_tensors, live.prompt_logprobs)
                chunk = chunk._replace(prompt=found)
        if chunk.finish is not None:
            del self._live[key]
            self.counters.finished += 1
        chunks.append((key, chunk))
