"""What the fake vLLM does. An answer repeats its prompt, each id raised by the number of its adapter; ids of the prompt ask
for faults.

    150900  the sequence fails in a step
    150902  the core dies by an exception
    150903  the core is killed: only its flag says so

An adapter whose folder is named «refused» is refused, one named «deadly» kills the core.

Only the standard library and numpy are imported: it runs in the engine's process.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import queue
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from vllm._records import record
from vllm._startup import print_start

NAMES = json.loads(Path(__file__).with_name("names.json").read_text())
FAIL, DIE, KILLED = 150_900, 150_902, 150_903
CONTEXT, VOCABULARY = 2048, 151_936
_STEP_S = 0.001


def _record(name: str, base: str = "") -> type:
    """A dataclass with the fields of the release, after those of `base`."""
    return record(name.rpartition(".")[2], [*NAMES.get(base, ()), *NAMES[name]])


EngineCoreRequest = _record("vllm.v1.engine.EngineCoreRequest")
EngineCoreOutput = _record("vllm.v1.engine.EngineCoreOutput")
EngineCoreOutputs = _record("vllm.v1.engine.EngineCoreOutputs")
EngineCoreEvent = _record("vllm.v1.engine.EngineCoreEvent")
LogprobsLists = _record("vllm.v1.outputs.LogprobsLists")
LogprobsTensors = _record("vllm.v1.outputs.LogprobsTensors")
LoRARequest = _record("vllm.lora.request.LoRARequest")
PrefixCacheStats = _record("vllm.v1.metrics.stats.PrefixCacheStats", "vllm.v1.metrics.stats.BaseCacheStats")
SchedulerStats = _record("vllm.v1.metrics.stats.SchedulerStats")
PrefillStats = _record("vllm.v1.metrics.stats.PrefillStats")
_Sampling = _record("vllm.sampling_params.SamplingParams")
UsageContext = enum.Enum(
    "UsageContext", [line.partition(" = ")[0] for line in NAMES["vllm.usage.usage_lib.UsageContext"]]
)


class VLLMValidationError(Exception):
    """As 0.33 raises it: no ValueError."""

    parameter = "temperature"


class SamplingParams(_Sampling):  # type: ignore[misc,valid-type]  # a class made at run time
    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 2:
            raise VLLMValidationError(f"temperature must be in [0, 2], got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise VLLMValidationError(f"top_p must be in (0, 1], got {self.top_p}")


@dataclasses.dataclass
class StructuredOutputsParams:
    grammar: str | None = None
    _backend: str | None = None


@dataclasses.dataclass
class StructuredOutputsConfig:
    backend: str = "auto"


def validate_xgrammar_grammar(sampling_params: Any) -> None:
    """As the real one: for the core's only backend, and a grammar that has a rule root."""
    wanted = sampling_params.structured_outputs
    assert wanted._backend == "xgrammar"
    if "root ::=" not in wanted.grammar:
        raise ValueError("Invalid grammar specification.")


class EngineArgs:
    def __init__(self, **arguments: Any) -> None:
        unknown = sorted(set(arguments) - set(NAMES["vllm.engine.arg_utils.EngineArgs"]))
        if unknown:
            raise TypeError(f"EngineArgs.__init__() got an unexpected keyword argument '{unknown[0]}'")
        self.arguments = arguments

    def create_engine_config(self, usage_context: Any = None, headless: bool = False) -> Any:  # noqa: ARG002  as the real one
        if self.arguments.get("quantization") == "none such":
            raise ValueError("Unknown quantization method: none such")
        context = self.arguments.get("max_model_len") or CONTEXT
        model = SimpleNamespace(max_model_len=context, get_vocab_size=lambda: VOCABULARY)
        scheduler = SimpleNamespace(max_num_batched_tokens=self.arguments.get("max_num_batched_tokens") or 8192)
        return SimpleNamespace(model_config=model, scheduler_config=scheduler, arguments=self.arguments)


EngineArgs.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as of the dataclass that it is in vLLM
    [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in NAMES["vllm.engine.arg_utils.EngineArgs"]]
)


class Executor:
    @staticmethod
    def get_class(vllm_config: Any) -> type:  # noqa: ARG004  as the real one
        return Executor


class EngineCoreClient:
    @staticmethod
    def make_client(
        multiprocess_mode: bool, asyncio_mode: bool, vllm_config: Any, executor_class: type, log_stats: bool
    ) -> _Core:
        assert (multiprocess_mode, asyncio_mode, log_stats) == (True, False, True)
        assert executor_class is Executor
        print_start(vllm_config.arguments)
        return _Core(vllm_config.arguments)


class _Core:
    """Steps on a thread of its own: each running sequence gains a token a step, at most `max_num_seqs` run."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self._arguments = arguments
        self.adapters: list[Any] = []
        self.requests: list[Any] = []
        """All that were ever added."""
        self.outputs_queue: queue.Queue[Any] = queue.Queue()
        self.resources = SimpleNamespace(engine_dead=False)
        self._most = arguments.get("max_num_seqs") or 256
        self._lock = threading.Lock()
        self._requests: dict[str, Any] = {}
        self._done: dict[str, int] = {}
        self._names: set[str] = set()
        threading.Thread(target=self._run, daemon=True).start()

    def add_request(self, request: Any) -> None:
        assert isinstance(request, EngineCoreRequest)
        assert request.request_id not in self._names, "duplicate request id"
        if self.resources.engine_dead:
            raise RuntimeError("EngineDeadError")
        assert request.lora_request is None or request.lora_request in self.adapters, "would be loaded in a step"
        with self._lock:
            self.requests.append(request)
            self._names.add(request.request_id)
            self._requests[request.request_id] = request
            self._done[request.request_id] = 0

    def add_lora(self, lora_request: Any) -> bool:
        assert isinstance(lora_request, LoRARequest)
        folder = Path(lora_request.lora_path)
        if folder.name == "refused" or not self._arguments.get("enable_lora"):
            raise Exception("Call to add_lora method failed: While loading it, expected other target modules")
        if folder.name == "deadly":
            self.resources.engine_dead = True
            threading.Event().wait()  # nobody answers, as the real one
        rank = json.loads((folder / "adapter_config.json").read_text())["r"]
        assert folder.is_absolute()
        assert rank <= self._arguments["max_lora_rank"]
        self.adapters.append(lora_request)
        assert len(self.adapters) <= self._arguments["max_cpu_loras"]
        return True

    def abort_requests(self, request_ids: list[str]) -> None:
        with self._lock:
            for name in request_ids:
                self._requests.pop(name, None)

    def shutdown(self, timeout: float | None = None) -> None:  # noqa: ARG002  as the real one
        self.resources.engine_dead = True

    def _run(self) -> None:
        while not self.resources.engine_dead:
            time.sleep(_STEP_S)
            with self._lock:
                running = list(self._requests.values())[: self._most]
                waiting = len(self._requests) - len(running)
                outputs = [self._output(request) for request in running]
                for output in outputs:
                    if output is not None and output.finish_reason is not None:
                        del self._requests[output.request_id]
            if self.resources.engine_dead:
                return
            if running:
                first = sum(self._done[request.request_id] == 1 for request in running)
                prefix = PrefixCacheStats(queries=10 * first, hits=4 * first)
                statistics = SchedulerStats(
                    num_running_reqs=len(running),
                    num_waiting_reqs=waiting,
                    kv_cache_usage=0.5,
                    prefix_cache_stats=prefix,
                )
                self.outputs_queue.put(EngineCoreOutputs(outputs=outputs, scheduler_stats=statistics))

    def _output(self, request: Any) -> Any:
        sampling, done = request.sampling_params, self._done[request.request_id]
        if DIE in request.prompt_token_ids or KILLED in request.prompt_token_ids:
            self.resources.engine_dead = True
            if DIE in request.prompt_token_ids:
                self.outputs_queue.put(RuntimeError("EngineCore encountered an issue"))
            return None
        token = request.prompt_token_ids[done % len(request.prompt_token_ids)]
        token += request.lora_request.lora_int_id if request.lora_request else 0
        self._done[request.request_id] = done + 1
        finish = None
        if FAIL in request.prompt_token_ids:
            finish = 3
        elif done + 1 > sampling.min_tokens and token in (sampling.stop_token_ids or ()):
            finish = 0
        elif done + 1 == sampling.max_tokens:
            finish = 1
        first = {}
        if not done:
            now = time.monotonic()
            first["prefill_stats"] = PrefillStats(num_prompt_tokens=len(request.prompt_token_ids), num_cached_tokens=1)
            first["new_prompt_logprobs_tensors"] = _prompt_logprobs(request.prompt_token_ids, sampling.prompt_logprobs)
            first["events"] = [EngineCoreEvent(1, now - 0.25), EngineCoreEvent(2, now), EngineCoreEvent(3, now)]
        return EngineCoreOutput(
            request.request_id, [token], new_logprobs=_logprobs(token, sampling.logprobs), finish_reason=finish, **first
        )


def _logprobs(token: int, wanted: int | None) -> Any:
    """A row as wide as the widest of a batch may be: two columns more than this sequence wants."""
    if wanted is None:
        return None
    ids = np.array([[token, *range(wanted + 2)]])
    values = -np.arange(1, wanted + 4, dtype=np.float32)[None] / 4
    return LogprobsLists(ids, values, np.array([1]))


def _prompt_logprobs(ids: list[int], wanted: int | None) -> Any:
    """None for a prompt of one token; a row as in `_logprobs`."""
    if wanted is None or len(ids) == 1:
        return None
    rows = [[token, *range(wanted + 2)] for token in ids[1:]]
    values = np.tile(-np.arange(1, wanted + 4, dtype=np.float32) / 8, (len(rows), 1))
    return LogprobsTensors(np.array(rows), values, np.ones(len(rows), np.int64))
