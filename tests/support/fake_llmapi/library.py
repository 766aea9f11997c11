"""What the fake TensorRT-LLM does. An answer repeats its prompt, each id raised by the number of its adapter; a token that a
bias or a bad word keeps back becomes 0. Ids of the prompt ask for faults.

    150900  the sequence fails: a RequestError out of its iterator
    150902  the workers die by an exception
    150903  the workers are killed: nothing says so but the executor's state

An adapter whose folder is named «refused» is refused by its first request, one named «deadly» kills the workers.

As the real one: results are announced only while their event loop runs, the same object comes after each step, a stop id
that fires is cut from its list, statistics come only where they were asked for, and the exit of one whose workers were killed
waits for ever. Only the standard library is imported: it runs in the engine's process.
"""

from __future__ import annotations

import asyncio
import atexit
import inspect
import json
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tensorrt_llm._records import record

NAMES = json.loads(Path(__file__).with_name("names.json").read_text())
FAIL, DIE, KILLED = 150_900, 150_902, 150_903
GPUS = 4
_STEP_S = 0.001
_NEWER = NAMES["LLM._check_health"]
_KEPT_BACK = -1e8
_OBJECTS = ("kv_cache_config", "scheduler_config", "cuda_graph_config", "speculative_config", "lora_config")
_FAILURE = (
    "[11/29/2026-12:00:00] [TRT-LLM] [RANK 0] [E] Failed to initialize executor on rank 0: CUDA out of memory.\n"
    "Traceback (most recent call last):\n"
    '  File "tensorrt_llm/executor/worker.py", line 600, in worker_main\n'
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
)

CompletionOutput = record("CompletionOutput", NAMES["CompletionOutput"])
Logprob = record("Logprob", NAMES["Logprob"])
LoRARequest = record("LoRARequest", NAMES["LoRARequest"])
_Guide = record("GuidedDecodingParams", NAMES["GuidedDecodingParams"], keywords=True)
_Sampling = record("SamplingParams", NAMES["SamplingParams"], keywords=True)
TorchLlmArgs = SimpleNamespace(model_fields=dict.fromkeys(NAMES["TorchLlmArgs"]))


class RequestError(RuntimeError):
    """An error of one request alone."""


class GuidedDecodingParams(_Guide):  # type: ignore[misc,valid-type]  # a class made at run time
    pass


class SamplingParams(_Sampling):  # type: ignore[misc,valid-type]  # a class made at run time
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        if self.temperature is not None and self.temperature > 100:
            raise ValueError(f"require temperature >= 0, got temperature={self.temperature}")
        self.used = False


SamplingParams.__signature__ = inspect.signature(_Sampling)  # type: ignore[attr-defined]  # as of the real one


def update_llm_args_with_extra_dict(llm_args: dict[str, Any], llm_args_dict: dict[str, Any]) -> dict[str, Any]:
    """Makes upstream's objects of nested mappings."""
    made = {name: SimpleNamespace(**llm_args_dict[name]) for name in _OBJECTS if name in llm_args_dict}
    return {**llm_args, **llm_args_dict, **made}


class _AsyncQueue:
    """A queue whose reader is woken through its loop, and not at all while that does not run."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: list[Any] = []
        self._event = asyncio.Event()

    def put(self, item: Any) -> None:
        self._items.append(item)
        if self._loop.is_running():
            self._loop.call_soon_threadsafe(self._event.set)

    async def get(self, timeout: float | None = None) -> Any:
        while not self._items:
            await asyncio.wait_for(self._event.wait(), timeout)
            self._event.clear()
        return self._items.pop(0)


class RequestOutput:
    def __init__(self, llm: LLM, number: int, prompt: list[int], sampling: Any, lora: Any) -> None:
        self.request_id, self.prompt_token_ids, self.sampling_params, self.lora = number, prompt, sampling, lora
        self.outputs = [CompletionOutput(0, token_ids=[], logprobs=[])]
        self.cached_tokens = 0
        self.finished = False
        self.arrived = _AsyncQueue()
        self._llm = llm

    def abort(self) -> None:
        self._llm._executor.aborted.append(self.request_id)
        self._llm._executor.running.pop(self.request_id, None)

    def __aiter__(self) -> RequestOutput:
        return self

    async def __anext__(self) -> RequestOutput:
        if self.finished:
            raise StopAsyncIteration
        token, finish = await self.arrived.get()
        if isinstance(token, Exception):
            if not isinstance(token, RequestError):
                self._llm._executor.stopped = True
            raise token
        self._take(token, finish)
        return self

    def _take(self, token: int, finish: str | None) -> None:
        done, sampling = self.outputs[0], self.sampling_params
        self.cached_tokens = 1
        done.token_ids.append(token)
        if sampling.logprobs:
            done.logprobs.append(_logprobs(token, sampling.logprobs))
        self.finished = finish is not None
        done.finish_reason = finish
        if finish == "stop" and token != sampling.end_id:
            done.stop_reason = token
            done.token_ids = done.token_ids[:-1]


def _logprobs(token: int, wanted: int) -> dict[int, Any]:
    """Of as many of the likeliest, the chosen one the first of them."""
    likeliest = [token, *range(wanted)]
    return {one: Logprob(-(rank + 1) / 4, rank + 1) for rank, one in enumerate(likeliest[:wanted])}


class _Executor:
    """Steps on a thread of its own: each running sequence gains a token a step, at most `max_batch_size` run."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.running: dict[int, RequestOutput] = {}
        self.requests: list[RequestOutput] = []
        """All that were ever made."""
        self.aborted: list[int] = []
        self.statistics: queue.Queue[dict[str, Any]] = queue.Queue()
        self.stopped = self.killed = False
        self._error_queue: queue.Queue[Exception] = queue.Queue()
        self._most = arguments.get("max_batch_size") or 2048
        self._made: dict[int, int] = {}
        threading.Thread(target=self._run, daemon=True).start()

    def is_shutdown(self) -> bool:
        return self.stopped

    def _run(self) -> None:
        iteration = 0
        while not self.stopped:
            time.sleep(_STEP_S)
            active = list(self.running.values())
            for result in active[: self._most]:
                if not self._step(result):
                    return
            if active and self.arguments.get("enable_iter_perf_stats"):
                iteration += 1
                waiting = max(0, len(active) - self._most)
                cache = {
                    "maxNumBlocks": 100,
                    "usedNumBlocks": 25,
                    "tokensPerBlock": 32,
                    "reusedBlocks": 4,
                    "missedBlocks": 6,
                }
                self.statistics.put(
                    {"iter": iteration, "numActiveRequests": len(active) - waiting, "numQueuedRequests": waiting,
                     "kvCacheStats": cache}
                )  # fmt: skip

    def _step(self, result: RequestOutput) -> bool:
        """One token of a sequence; False where the workers end with it."""
        sampling, prompt, number = result.sampling_params, result.prompt_token_ids, result.request_id
        folder = "" if result.lora is None else Path(result.lora.lora_path).name
        if KILLED in prompt:
            self.killed = True
            if not _NEWER:
                self._error_queue.put(RuntimeError("a worker is gone"))
            return False
        if DIE in prompt or folder == "deadly":
            self.killed = True
            result.arrived.put((RuntimeError("CUDA error: an illegal memory access was encountered"), None))
            return False
        if FAIL in prompt or folder == "refused":
            self.running.pop(number, None)
            result.arrived.put((RequestError("Encountered an error in forward function: other target modules"), None))
            return True
        done = self._made.get(number, 0)
        token = prompt[done % len(prompt)] + (result.lora.lora_int_id if result.lora else 0)
        if _is_kept_back(token, sampling):
            token = 0
        self._made[number] = done + 1
        early = done + 1 <= (sampling.min_tokens or 0)
        finish = None
        if (token == sampling.end_id and not early) or token in (sampling.stop_token_ids or ()):
            finish = "stop"
        elif done + 1 == sampling.max_tokens:
            finish = "length"
        if finish is not None:
            self.running.pop(number, None)
        result.arrived.put((token, finish))
        return True


def _is_kept_back(token: int, sampling: Any) -> bool:
    banned = token in (sampling.bad_token_ids or ())
    return banned or (sampling.embedding_bias is not None and sampling.embedding_bias[token] < _KEPT_BACK)


class LLM:
    def __init__(self, model: str, tokenizer: Any = None, **arguments: Any) -> None:
        assert tokenizer is None
        unknown = sorted(set(arguments) - set(NAMES["TorchLlmArgs"]))
        if unknown:
            raise ValueError(f"LLM got invalid argument: {unknown[0]}")
        assert not [name for name in _OBJECTS if isinstance(arguments.get(name), dict)], "an object, not a mapping"
        in_a_job = [name for name in os.environ if name.startswith(("OMPI_COMM_WORLD_", "PMIX_RANK"))]
        if in_a_job:
            raise RuntimeError(f"MPI_ERR_SPAWN: could not spawn processes of the job of {in_a_job[0]}")
        wanted = arguments.get("tensor_parallel_size", 1)
        if wanted > GPUS:
            raise RuntimeError(f"Only {GPUS} GPUs are available, but {wanted} are required.")
        if arguments.get("attn_backend") == "NO_MEMORY":
            subprocess.run([sys.executable, "-S", "-c", f"import sys; sys.stderr.write({_FAILURE!r})"], check=True)
            raise RuntimeError("Executor worker returned error")
        guided = arguments.get("guided_decoding_backend")
        assert guided is None or not arguments["skip_tokenizer_init"], "a grammar needs the tokenizer"
        self.arguments = {"model": model, **arguments}
        self._executor: Any = _Executor(self.arguments)
        self._last = 0
        if _NEWER:
            self._check_health = lambda: not (self._executor.killed or self._executor.stopped)
        atexit.register(self.shutdown)

    def generate_async(self, *positional: Any, **keywords: Any) -> RequestOutput:
        assert not positional, "the order differs from release to release"
        assert set(keywords) <= set(NAMES["LLM.generate_async"]), "no such keyword"
        if self._executor is None or self._executor.is_shutdown():
            raise RuntimeError("LLM is shutting down")
        sampling, prompt = keywords["sampling_params"], keywords["inputs"]["prompt_token_ids"]
        assert isinstance(sampling, SamplingParams)
        assert not sampling.used, "parameters are changed by the call"
        assert sampling.end_id is not None, "tokenizer is required to reset end_id if it is None"
        assert keywords["streaming"] is True
        if sampling.guided_decoding is not None:
            assert self.arguments.get("guided_decoding_backend"), "the workers would end"
        lora = keywords["lora_request"]
        assert lora is None or Path(lora.lora_path).is_dir()
        assert lora is None or str(Path(lora.lora_path)) in self.arguments["lora_config"].lora_dir
        most = self.arguments.get("max_num_tokens", 8192)
        if len(prompt) > most and not self.arguments.get("enable_chunked_prefill"):
            raise ValueError(f"The sum of prompt length ({len(prompt)}) should not exceed max_num_tokens ({most})")
        sampling.used = True
        self._last += 1
        result = RequestOutput(self, self._last, prompt, sampling, lora)
        self._executor.requests.append(result)
        self._executor.running[self._last] = result
        return result

    generate_async.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as of the real one
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in NAMES["LLM.generate_async"]]
    )

    async def get_stats_async(self, timeout: float | None = 2) -> Any:
        deadline = time.monotonic() + (timeout or 0)
        while time.monotonic() < deadline:
            try:
                yield self._executor.statistics.get_nowait()
            except queue.Empty:
                await asyncio.sleep(0.01)

    def shutdown(self) -> None:
        if self._executor.killed:
            threading.Event().wait()  # for workers that never answer, as the real one
        self._executor.stopped = True
