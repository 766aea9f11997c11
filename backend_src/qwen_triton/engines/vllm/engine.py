"""A StepEngine over vLLM's engine core. The core steps by itself; a step here takes what it has put out since the last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...checkpoint.hub import resolve_model
from ...types import EngineRequest, TokenChunk
from ..capabilities import check_request
from ..engine import EngineInfo, FormKeeping, Key
from ..gpu.adapters import read_adapters
from ..gpu.engine import SelfSteppingEngine
from ..process.chunks import plain_chunk
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
    """`plain`: what follows has no more than token ids, until something else happens to the sequence."""

    stop_ids: frozenset[int]
    logprobs: int | None
    prompt_logprobs: int | None
    begun: bool = False
    plain: bool = False


class VllmEngine(SelfSteppingEngine[VllmCore, _Live]):
    """The vLLM engine. Raises ConfigurationError when vLLM cannot be loaded or does not start.

    A core that dies ends this process (CoreDied, a SystemExit), whichever method notices.
    """

    def __init__(self, options: VllmOptions) -> None:
        adapters = read_adapters(options.lora, "vLLM")
        room = options.adapter_arguments(adapters)
        model = str(resolve_model(options.model, options.hub, options.revision))
        with STARTUP.explained():
            super().__init__(VllmCore(model, {**options.arguments(), **room}, options.arrival_pause_ms / 1e3))
        self.counters.extra["prompt_steps"] = 0.0
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

    def add(self, key: Key, request: EngineRequest) -> None:
        """Adds a sequence. Raises InvalidRequest for a value that vLLM does not take."""
        check_request(self.info, request)
        arguments, sampling = sampling_arguments(request, self._bounds), request.sampling
        self._core.add(str(key), request.token_ids, arguments, request.lora_name, sampling.priority or 0)
        stops = frozenset(arguments["stop_token_ids"])
        self._keep(key, _Live(stops, sampling.logprobs, sampling.prompt_logprobs))

    def step(self) -> list[tuple[Key, TokenChunk]]:
        chunks: list[tuple[Key, TokenChunk]] = []
        for outputs in self._core.outputs(_WAIT_S):
            self.counters.steps += bool(outputs.outputs)
            started = self.counters.started
            if outputs.scheduler_stats is not None:
                add_step(self.counters, outputs.scheduler_stats)
            for output in outputs.outputs:
                self._take(output, chunks)
            self.counters.extra["prompt_steps"] += self.counters.started > started
        self._forget_states()
        return chunks

    def _take(self, output: Any, chunks: list[tuple[Key, TokenChunk]]) -> None:
        """Hot: runs for every token of every request."""
        key = int(output.request_id)
        live = self._live.get(key)
        if live is None:  # cancelled while its output was under way
            return
        self.counters.tokens += len(output.new_token_ids)
        if live.plain and output.finish_reason is None and output.prefill_stats is None and not output.events:
            chunks.append((key, plain_chunk(output.new_token_ids)))
            return
        if output.events:
            add_events(self.counters, output.events)
        chunk = token_chunk(output, live.stop_ids, live.logprobs)
        if not live.begun:
            live.begun, live.plain = True, live.logprobs is None
            if live.prompt_logprobs is not None:
                found = prompt_log_probs(output.new_prompt_logprobs_tensors, live.prompt_logprobs)
                chunk = chunk._replace(prompt=found)
        self._hand_on(key, chunk, chunks)
