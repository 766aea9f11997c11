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
from ..engine import EngineInfo, Key
from ..gpu.adapters import read_adapters, room_for
from ..gpu.engine import SelfSteppingEngine
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
_TOKENIZER = "tokenizer.json"
"""What grammars are kept by."""


@dataclass(slots=True)
class _Live:
    end_ids: tuple[int, ...]
    logprobs: int | None
    begun: bool = False


class LlmapiEngine(SelfSteppingEngine[LlmCore, _Live]):
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
        if guided and not (folder / _TOKENIZER).is_file():
            raise ConfigurationError(
                f"engine.guided_decoding_backend: {folder / _TOKENIZER}: no such file; give a checkpoint with its tokenizer, "
                "or leave the key out"
            )
        with STARTUP.explained():
            super().__init__(LlmCore(str(folder), arguments, vocab_size, guided=guided))
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

    def add(self, key: Key, request: EngineRequest) -> None:
        """Adds a sequence. Raises InvalidRequest for a value that TensorRT-LLM does not take."""
        check_request(self.info, request)
        arguments = sampling_arguments(request, self._bounds)
        self._core.add(str(key), request.token_ids, arguments, request.lora_name)
        self._keep(key, _Live(end_ids(request), request.sampling.logprobs))

    def step(self) -> list[tuple[Key, TokenChunk]]:
        chunks: list[tuple[Key, TokenChunk]] = []
        for found in self._core.outputs(_WAIT_S):
            if isinstance(found, LlmOutput):
                self._take(found, chunks)
            else:
                add_iteration(self.counters, found)
        self._forget_states()
        return chunks

    def _take(self, output: LlmOutput, chunks: list[tuple[Key, TokenChunk]]) -> None:
        key = int(output.name)
        live = self._live.get(key)
        if live is None:  # cancelled while its output was under way
            return
        self.counters.tokens += len(output.token_ids)
        live.begun = True
        chunk = token_chunk(output, live.end_ids, live.logprobs)
        if chunk.finish is not None and output.finish is None:  # of an error, after which TensorRT-LLM may go on
            self._core.cancel(output.name)
        self._hand_on(key, chunk, chunks)


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
