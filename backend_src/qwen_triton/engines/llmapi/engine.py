"""A StepEngine over TensorRT-LLM's LLM. It steps by itself; a step here takes what has arrived since the last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...checkpoint.hub import resolve_model
from ...checkpoint.json_file import read_json_object
from ...checkpoint.weights import REMEDY
from ...errors import ConfigurationError
from ...types import EngineRequest, TokenChunk
from ..capabilities import check_request
from ..engine import Counters, EngineInfo, Key
from ..gpu.adapters import read_adapters, room_for
from .core import LlmCore
from .lora import lora_config
from .options import LlmapiOptions
from .outputs import LlmOutput, token_chunk
from .releases import installed_release
from .sampling import LlmBounds, end_ids, sampling_arguments
from .startup import STARTUP
from .statistics import add_iteration

_WAIT_S = 0.002
"""How long a step waits for an output; a request that arrives meanwhile waits as long."""
_STEP_TOKENS = 8192
"""TensorRT-LLM's default of max_num_tokens."""


@dataclass(slots=True)
class _Live:
    end_ids: tuple[int, ...]
    logprobs: int | None
    begun: bool = False


class LlmapiEngine:
    """The llmapi engine. Raises ConfigurationError when TensorRT-LLM cannot be loaded or does not start.

    Workers that die end this process (LlmDied, a SystemExit), whichever method notices.
    """

    def __init__(self, options: LlmapiOptions) -> None:
        release = installed_release()
        release.check_sampler(options.sampler_type)
        adapters = read_adapters(options.lora, "TensorRT-LLM")
        arguments = options.arguments()
        if adapters:
            room = room_for(adapters, options.max_loras, options.max_cpu_loras, options.max_lora_rank)
            arguments["lora_config"] = lora_config(adapters, room)
        folder = resolve_model(options.model, options.hub, options.revision)
        context, vocab_size = _sizes(folder, options.max_seq_len)
        guided = options.guided_decoding_backend is not None
        with STARTUP.explained():
            self._core = LlmCore(str(folder), arguments, vocab_size, guided=guided)
        try:
            for adapter in adapters:
                self._core.load_adapter(adapter, 0)
        except BaseException:
            self._core.close()
            raise
        most = None if options.enable_chunked_prefill else options.max_num_tokens or _STEP_TOKENS
        self._bounds = LlmBounds(context, vocab_size, most)
        self.info = EngineInfo(
            "llmapi",
            context,
            vocab_size,
            honours=release.honours(options.sampler_type, speculative=options.speculative_config is not None),
            adapters=tuple(options.lora),
            forms="text" if guided else "",
            seeds=release.seeds(options.sampler_type),
        )
        self.counters = Counters()
        self._live: dict[Key, _Live] = {}

    def add(self, key: Key, request: EngineRequest) -> None:
        """Adds a sequence. Raises InvalidRequest for a value that TensorRT-LLM does not take."""
        check_request(self.info, request)
        arguments = sampling_arguments(request, self._bounds)
        self._core.add(str(key), request.token_ids, arguments, request.lora_name)
        self._live[key] = _Live(end_ids(request), request.sampling.logprobs)
        self.counters.requests += 1

    def cancel(self, key: Key) -> None:
        if self._live.pop(key, None) is None:
            return
        self.counters.cancelled += 1
        self._forget_states()
        self._core.cancel(str(key))

    def waits(self, key: Key) -> bool:
        """Whether a sequence has had no token yet: TensorRT-LLM does not say sooner that it has a slot."""
        live = self._live.get(key)
        return live is not None and not live.begun

    def wait_s(self) -> float | None:
        return 0.0 if self._live else None

    def step(self) -> list[tuple[Key, TokenChunk]]:
        chunks: list[tuple[Key, TokenChunk]] = []
        for found in self._core.outputs(_WAIT_S):
            if isinstance(found, LlmOutput):
                self._take(found, chunks)
            else:
                add_iteration(self.counters, found)
        self._forget_states()
        return chunks

    def close(self) -> None:
        self._core.close()

    def _forget_states(self) -> None:
        """An idle LLM makes no iterations, so the statistics of its last one would stand for ever."""
        if not self._live:
            self.counters.running = self.counters.waiting = 0

    def _take(self, output: LlmOutput, chunks: list[tuple[Key, TokenChunk]]) -> None:
        key = int(output.name)
        live = self._live.get(key)
        if live is None:  # cancelled while its output was under way
            return
        self.counters.tokens += len(output.token_ids)
        live.begun = True
        chunk = token_chunk(output, live.end_ids, live.logprobs)
        if chunk.finish is not None:
            del self._live[key]
            self.counters.finished += 1
            if output.finish is None:  # it is ours that failed, and TensorRT-LLM would go on
                self._core.cancel(output.name)
        chunks.append((key, chunk))


def _sizes(folder: Path, max_seq_len: int | None) -> tuple[int, int]:
    """Tokens of a context and of the vocabulary: of config.json, as TensorRT-LLM takes them; the LLM itself does not say."""
    file = folder / "config.json"
    config = read_json_object(file, REMEDY)
    text: Any = config.get("text_config")
    model = {**config, **text} if isinstance(text, dict) else config
    context = max_seq_len or model.get("max_position_embeddings")
    vocab_size = model.get("vocab_size")
    if not isinstance(context, int) or not isinstance(vocab_size, int):
        missing = "vocab_size" if isinstance(context, int) else "max_position_embeddings"
        raise ConfigurationError(f"engine: {file} has no {missing}; {REMEDY}")
    return context, vocab_size
