"""vLLM's engine core: the only module that imports vllm.

Tried with 0.26, read against 0.33: in both `EngineArgs.create_engine_config`, `Executor.get_class`,
`EngineCoreClient.make_client`, `EngineCoreRequest`, `SamplingParams` and `LoRARequest` take the keywords used here.
Other versions are refused. The core runs in a process of its own, which vLLM starts and this module ends.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError, InvalidRequest
from ...types import GUIDED_DECODING_GUIDE
from ..gpu.adapters import Adapter
from ..gpu.arrivals import Arrivals

OLDEST, NEWEST = (0, 26), (0, 33)
_PATTERNS = (0, 33)
"""The first version known to honour the ranks and scales of single modules of an adapter; 0.26 passes over them."""
_WATCH_S = 0.1
_QUIET = {
    "VLLM_NO_USAGE_STATS": "1",  # nothing is reported to anybody
    "DO_NOT_TRACK": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # this process has threads; a fork could copy a lock that one of them holds
    "TOKENIZERS_PARALLELISM": "false",
}


_BACKEND = "xgrammar"
"""An engine core has one backend of grammars for all requests."""


def _structured(grammar: str | None) -> Any:
    if not grammar:
        return None
    from vllm.sampling_params import StructuredOutputsParams

    return StructuredOutputsParams(grammar=grammar)


def _check_grammar(parameters: Any) -> None:
    """What vLLM's own front end does with a grammar before its core gets it. Raises what vLLM raises for a wrong one."""
    wanted = parameters.structured_outputs
    if wanted is None:
        return
    from vllm.v1.structured_output.backend_xgrammar import validate_xgrammar_grammar

    wanted._backend = _BACKEND  # the core reads it; the public way to set it needs a tokenizer here
    validate_xgrammar_grammar(parameters)


class CoreDied(SystemExit):
    """The engine core has ended, and with it this process: its clients are told, and its supervisor starts both again."""


def check_version() -> tuple[int, ...]:
    """The installed vLLM's version, as (0, 33). Raises ConfigurationError for none, and for one that is not supported."""
    try:
        found = version("vllm")
    except PackageNotFoundError:
        raise ConfigurationError("engine: vllm is not installed in this interpreter; `make vllm` installs it") from None
    return check_release(found)


def check_release(found: str) -> tuple[int, ...]:
    """A release of vLLM, such as 0.26.0 or 0.26.0+cpu, as (0, 26). Raises ConfigurationError for one that is not supported."""
    numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
    if not OLDEST <= numbers <= NEWEST:
        oldest, newest = (".".join(map(str, bound)) for bound in (OLDEST, NEWEST))
        raise ConfigurationError(f"engine: vllm {found} is not supported; install {oldest} to {newest}")
    return numbers


class VllmCore:
    """One engine core. All methods are for one thread, but `close`. `pause_s`: between two groups of new sequences.

    Raises ConfigurationError for arguments that vLLM refuses and for a core that does not start.
    """

    def __init__(self, model: str, arguments: Mapping[str, Any], pause_s: float = 0.0) -> None:
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        self._version = check_version()
        from vllm.engine.arg_utils import EngineArgs
        from vllm.sampling_params import SamplingParams
        from vllm.usage.usage_lib import UsageContext
        from vllm.v1.engine import EngineCoreRequest
        from vllm.v1.engine.core_client import EngineCoreClient
        from vllm.v1.executor import Executor

        self._request, self._sampling = EngineCoreRequest, SamplingParams
        self.has_tokenizer = (Path(model) / "tokenizer.json").is_file()
        self._adapters: dict[str | None, Any] = {None: None}
        try:
            config = EngineArgs(model=model, **self._tokenizer_arguments(), **arguments).create_engine_config(
                UsageContext.OPENAI_API_SERVER
            )
            self._client = EngineCoreClient.make_client(
                multiprocess_mode=True,
                asyncio_mode=False,
                vllm_config=config,
                executor_class=Executor.get_class(config),
                log_stats=True,
            )
        except (TypeError, ValueError, RuntimeError, TimeoutError, OSError) as error:
            raise ConfigurationError(f"engine: vLLM does not start: {error}") from error
        self.max_context: int = config.model_config.max_model_len
        self.vocab_size: int = config.model_config.get_vocab_size()
        self._arrivals: Arrivals[Any] = Arrivals(pause_s, config.scheduler_config.max_num_batched_tokens)

    def load_adapter(self, adapter: Adapter) -> None:
        """Loads an adapter into the core; requests may name it from then on. Raises ConfigurationError where it cannot be.

        For the time before the first sequence, because the core makes no step meanwhile.
        """
        from vllm.lora.request import LoRARequest

        if adapter.patterned and self._version < _PATTERNS:
            reason = "rank_pattern and alpha_pattern need vLLM 0.33; install it, or train the adapter with one rank"
            raise ConfigurationError(f"engine.lora.{adapter.name}: {reason}")
        request = LoRARequest(lora_name=adapter.name, lora_int_id=adapter.number, lora_path=str(adapter.folder))
        try:
            self._watched(self._client.add_lora, request)
        except Exception as error:  # vLLM raises whatever its core has said, as a bare Exception
            raise ConfigurationError(f"engine.lora.{adapter.name}: vLLM does not load it: {error}") from error
        self._adapters[adapter.name] = request

    def _watched(self, call: Callable[[Any], Any], argument: Any) -> None:
        """Calls a function of the core, which a core that dies would leave waiting for ever. Raises what it raises."""
        ended: Future[Any] = Future()

        def run() -> None:
            try:
                ended.set_result(call(argument))
            except Exception as error:
                ended.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        while not wait([ended], _WATCH_S).done:
            if self._client.resources.engine_dead:
                raise RuntimeError("its engine core has ended; its log says why")
        ended.result()

    def add(
        self,
        name: str,
        token_ids: Sequence[int],
        sampling: Mapping[str, Any],
        adapter: str | None = None,
        priority: int = 0,
    ) -> None:
        """Adds a sequence; `name` must never have been used, `adapter` is one that was loaded. Lower priorities run first.

        The core gets it with the others of its group, in `outputs`. Raises InvalidRequest for what vLLM refuses.
        """
        try:
            grammar = sampling.get("structured_outputs")
            parameters = self._sampling(**{**sampling, "structured_outputs": _structured(grammar)})
        except Exception as error:  # ValueError, or a class of its own in newer versions
            raise InvalidRequest(str(error), getattr(error, "parameter", None) or "sampling") from error
        try:
            _check_grammar(parameters)
        except Exception as error:  # as above
            raise InvalidRequest(f"vLLM cannot keep it: {error}", GUIDED_DECODING_GUIDE) from error
        request = self._request(
            request_id=name,
            prompt_token_ids=list(token_ids),
            mm_features=None,
            sampling_params=parameters,
            pooling_params=None,
            arrival_time=time.time(),
            lora_request=self._adapters[adapter],
            cache_salt=None,
            data_parallel_rank=None,
            priority=priority,
        )
        self._arrivals.add(name, request, len(token_ids))

    def _tokenizer_arguments(self) -> dict[str, Any]:
        """With a tokenizer only the core loads it, to keep grammars; ids stay ids. Without one no grammar is kept."""
        if not self.has_tokenizer:
            return {"skip_tokenizer_init": True}
        from vllm.config import StructuredOutputsConfig

        return {"structured_outputs_config": StructuredOutputsConfig(backend=_BACKEND)}

    def cancel(self, name: str) -> None:
        """Ends a sequence; outputs that are under way may still come."""
        if not self._arrivals.take_back(name):
            with self._alive():
                self._client.abort_requests([name])

    def outputs(self, wait_s: float) -> Iterator[Any]:
        """Hands new sequences on that are due, then yields EngineCoreOutputs of the steps that have ended, waiting up to
        `wait_s` seconds for one. Raises CoreDied.

        A killed core queues nothing; only a flag says that it has ended.
        """
        self._begin()
        steps = self._client.outputs_queue
        try:
            found = steps.get(timeout=wait_s)
        except queue.Empty:
            if self._client.resources.engine_dead:
                raise CoreDied("vLLM's engine core has ended") from None
            return
        while True:
            if isinstance(found, Exception):
                raise CoreDied(f"vLLM's engine core has ended: {found}") from found
            yield found
            try:
                found = steps.get_nowait()
            except queue.Empty:
                return

    def _begin(self) -> None:
        for request in self._arrivals.due(time.monotonic()):
            with self._alive():
                self._client.add_request(request)

    def close(self) -> None:
        """Ends the core's processes and frees the GPU."""
        with contextlib.suppress(Exception):  # it may have ended by itself, in whatever way
            self._client.shutdown()

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # EngineDeadError, or an error of the socket that its monitor has closed
            if self._client.resources.engine_dead:
                raise CoreDied("vLLM's engine core has ended") from error
            raise
