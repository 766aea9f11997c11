"""TensorRT-LLM's LLM: the only module that imports tensorrt_llm, and what it needs of torch and xgrammar.

    core = LlmCore(model, arguments, guided=False)
    core.add("7", token_ids, sampling_arguments(…))         # raises InvalidRequest for what TensorRT-LLM refuses
    for found in core.outputs(0.002): …

Its results are awaited in an event loop that must run all the time: what arrives while it does not is never announced. So
the loop has a thread, which alone calls the LLM, whose sockets are not for several. Calls have keywords only, because the
order of parameters differs from release to release. Names that are used, and in which release they were read, are listed in
tests/data/llmapi.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
import os
import queue
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ConfigurationError, InvalidRequest
from ...types import GUIDED_DECODING_GUIDE
from ..gpu.adapters import Adapter
from .mpi import leave_job, withhold_descriptors
from .outputs import LlmOutput, new_output
from .sampling import NO_END

_TAKES_S = 60.0
"""How long the LLM may take to accept a request: it hands it to a worker."""
_LOOK_S = 1.0
"""Between two looks whether the workers live."""
_STATISTICS_S = 0.5
_LAST_S = 5.0
"""From the end of the workers to the end of this process, in which those that wait for an answer are told. Upstream's own
exit waits for the workers, for ever where they were killed."""
_CLOSE_S = 30.0


_CALLED_WITH = ("inputs", "sampling_params", "lora_request", "streaming")
_SAMPLED_WITH = (
    "end_id", "pad_id", "max_tokens", "min_tokens", "stop_token_ids", "bad_token_ids", "embedding_bias", "temperature", "top_k",
    "top_p", "min_p", "seed", "repetition_penalty", "presence_penalty", "frequency_penalty", "logprobs", "guided_decoding",
    "detokenize", "add_special_tokens",
)  # fmt: skip


_log = logging.getLogger(__name__)


class LlmDied(SystemExit):
    """TensorRT-LLM's workers have ended, and with them this process: its clients are told, its supervisor starts both again."""


class LlmCore:
    """One LLM and its workers. All methods are for one thread.

    `guided`: whether it keeps grammars, for which its processes load the tokenizer; ids stay ids. Raises ConfigurationError
    for arguments that the LLM refuses and for workers that do not start.
    """

    def __init__(self, model: str, arguments: Mapping[str, Any], vocab_size: int, *, guided: bool = False) -> None:
        self._vocab_size = vocab_size
        leave_job(os.environ)
        withhold_descriptors()
        try:
            from tensorrt_llm import LLM, SamplingParams
            from tensorrt_llm.executor.request import LoRARequest
            from tensorrt_llm.executor.utils import RequestError
            from tensorrt_llm.llmapi.llm_utils import update_llm_args_with_extra_dict

            self._sampling, self._lora_request, self._request_error = SamplingParams, LoRARequest, RequestError
            _check_keywords(LLM.generate_async, _CALLED_WITH)
            _check_keywords(SamplingParams, _SAMPLED_WITH)
            self._check_grammar = _grammar_checker() if guided else None
            given = {**arguments, "enable_iter_perf_stats": True, "skip_tokenizer_init": not guided}
            self._llm = LLM(model=model, **update_llm_args_with_extra_dict({}, given))
            _has_ended(self._llm)  # the names that it reads are upstream's own
        except Exception as error:  # of many classes, those of pydantic and of MPI among them
            raise ConfigurationError(f"engine: TensorRT-LLM does not start: {error}") from error
        self._adapters: dict[str | None, Any] = {None: None}
        self._following: dict[str, tuple[asyncio.Task[None], Any]] = {}
        self._arrived: queue.SimpleQueue[LlmOutput | Mapping[str, Any] | LlmDied] = queue.SimpleQueue()
        self._ended = False
        self._saved = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="llmapi", daemon=True)
        self._thread.start()
        self._in_loop(self._start())

    def load_adapter(self, adapter: Adapter, token_id: int) -> None:
        """Has an adapter answer with one token, since workers load it with its first request; others may name it from then on.

        Raises ConfigurationError where it cannot be served, LlmDied. For the time before the first sequence.
        """
        request = self._lora_request(adapter.name, adapter.number, str(adapter.folder))
        self._adapters[adapter.name] = request
        probe = {"max_tokens": 1, "end_id": NO_END, "pad_id": 0, "top_k": 1, "detokenize": False}
        try:
            self.add(adapter.name, [token_id], probe, adapter.name)
            found = next(output for output in self._waited() if output.finish is not None or output.error)
        except InvalidRequest as error:
            found = LlmOutput(adapter.name, error=str(error))
        if found.error:
            reason = f"TensorRT-LLM does not serve it: {found.error}"
            raise ConfigurationError(f"engine.lora.{adapter.name}: {reason}")

    def add(self, name: str, token_ids: Sequence[int], sampling: Mapping[str, Any], adapter: str | None = None) -> None:
        """Adds a sequence; `name` must not be in use, `adapter` is one that was loaded.

        Raises InvalidRequest for what TensorRT-LLM refuses, LlmDied.
        """
        parameters = self._parameters(sampling)
        self._in_loop(self._submit(name, list(token_ids), parameters, self._adapters[adapter]))

    def cancel(self, name: str) -> None:
        """Ends a sequence; outputs that are under way may still come."""
        self._loop.call_soon_threadsafe(self._abort, name)

    def outputs(self, wait_s: float) -> Iterator[LlmOutput | Mapping[str, Any]]:
        """What has arrived, waiting up to `wait_s` seconds for something: outputs of sequences, and statistics of iterations
        as JSON objects. Raises LlmDied.
        """
        try:
            found = self._arrived.get(timeout=wait_s)
        except queue.Empty:
            return
        while True:
            if isinstance(found, LlmDied):
                raise found
            yield found
            try:
                found = self._arrived.get_nowait()
            except queue.Empty:
                return

    def close(self) -> None:
        """Ends the workers and frees the GPUs; the process, where that does not end."""
        self._saved.set()
        closed = threading.Event()
        self._exit_unless(closed, _CLOSE_S)
        if not self._ended:
            with contextlib.suppress(Exception):  # they may have ended by themselves, in whatever way
                self._llm.shutdown()
        with contextlib.suppress(concurrent.futures.TimeoutError):
            asyncio.run_coroutine_threadsafe(self._finish(), self._loop).result(_CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_S)
        closed.set()

    def _waited(self) -> Iterator[LlmOutput]:
        while True:
            for found in self.outputs(_LOOK_S):
                if isinstance(found, LlmOutput):
                    yield found

    def _parameters(self, sampling: Mapping[str, Any]) -> Any:
        """SamplingParams of one request; TensorRT-LLM changes them, so they are made for each. Raises InvalidRequest."""
        given = dict(sampling)
        grammar, bias = given.pop("grammar", ""), given.pop("bias", None)
        if grammar:
            given["guided_decoding"] = self._guide(grammar)
        if bias:
            given["embedding_bias"] = _bias_tensor(bias, self._vocab_size)
        try:
            return self._sampling(**given)
        except ValueError as error:
            raise InvalidRequest(str(error), "sampling") from error

    def _guide(self, grammar: str) -> Any:
        """A grammar for the workers, which would end with one that xgrammar cannot read. Raises InvalidRequest."""
        from tensorrt_llm.sampling_params import GuidedDecodingParams

        assert self._check_grammar is not None, "capabilities let no grammar through to an engine without"
        try:
            self._check_grammar(grammar)
        except Exception as error:  # a RuntimeError of C++
            raise InvalidRequest(str(error), GUIDED_DECODING_GUIDE) from error
        return GuidedDecodingParams(grammar=grammar)

    def _in_loop(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Runs in the loop's thread, and raises what it raises: InvalidRequest, or LlmDied for anything else."""
        try:
            asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(_TAKES_S)
        except (ValueError, self._request_error) as error:
            raise InvalidRequest(str(error), "sampling") from error
        except concurrent.futures.TimeoutError:
            raise self._die(f"it has taken no request for {_TAKES_S:.0f} s") from None
        except Exception as error:
            raise self._die(f"{type(error).__name__}: {error}") from error

    # What follows runs in the loop's thread.

    async def _start(self) -> None:
        self._tasks = [self._loop.create_task(task) for task in (self._watch(), self._collect())]

    async def _finish(self) -> None:
        tasks = [*self._tasks, *(task for task, _ in self._following.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _submit(self, name: str, token_ids: list[int], parameters: Any, adapter: Any) -> None:
        result = self._llm.generate_async(
            inputs={"prompt_token_ids": token_ids}, sampling_params=parameters, lora_request=adapter, streaming=True
        )
        self._following[name] = (self._loop.create_task(self._follow(name, result)), result)

    async def _follow(self, name: str, result: Any) -> None:
        """Hands on what each step adds to a sequence, until its end; the number of cached tokens only where it is a new one."""
        seen, told, ended = 0, 0, False
        try:
            async for _ in result:
                completion = result.outputs[0]
                cached = getattr(result, "cached_tokens", 0)
                found = new_output(name, completion, seen, 0 if cached == told else cached)
                seen, told = max(seen, len(completion.token_ids)), cached
                ended = found.finish is not None
                self._arrived.put(found)
            if not ended:
                self._arrived.put(LlmOutput(name, error="it ended without a reason"))
        except self._request_error as error:
            self._arrived.put(LlmOutput(name, error=str(error)))
        except Exception as error:  # of the workers, for all: upstream shuts the LLM down before it raises it here
            self._die(f"{type(error).__name__}: {error}")
        finally:
            self._following.pop(name, None)

    def _abort(self, name: str) -> None:
        followed = self._following.pop(name, None)
        if followed is not None:
            task, result = followed
            task.cancel()
            with contextlib.suppress(Exception):  # of an LLM that is shut down, which `_watch` finds
                result.abort()

    async def _watch(self) -> None:
        """Finds workers that have ended although no sequence says so."""
        while not self._ended:
            await asyncio.sleep(_LOOK_S)
            if _has_ended(self._llm):
                self._die("its workers have ended")

    async def _collect(self) -> None:
        """Hands on statistics as they come; without a reader they would pile up."""
        while not self._ended:
            await asyncio.sleep(_STATISTICS_S)
            try:
                async for statistics in self._llm.get_stats_async(timeout=_STATISTICS_S):
                    self._arrived.put(statistics)
            except Exception as error:  # answers go on without
                if not _has_ended(self._llm):
                    _log.warning("there are no statistics of iterations any more: %s", error)
                return

    def _die(self, reason: str) -> LlmDied:
        """Announces the end, once; any thread."""
        died = LlmDied(f"TensorRT-LLM has ended: {reason}")
        if not self._ended:
            self._ended = True
            self._arrived.put(died)
            self._exit_unless(self._saved, _LAST_S)
        return died

    @staticmethod
    def _exit_unless(event: threading.Event, seconds: float) -> None:
        """Ends this process at once unless `event` is set in time."""

        def wait() -> None:
            if not event.wait(seconds):
                os._exit(1)

        threading.Thread(target=wait, name="llmapi-exit", daemon=True).start()


def _check_keywords(function: Any, names: Sequence[str]) -> None:
    """Raises TypeError where a release does not take a keyword, at the start rather than with each request."""
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return
    if missing := sorted(set(names) - {one.name for one in parameters}):
        raise TypeError(f"{function.__qualname__} of this release takes no {missing[0]}")


def _has_ended(llm: Any) -> bool:
    """Whether the workers are gone. Of the newer releases `_check_health` says so, of 1.2 the executor's own state."""
    executor = llm._executor
    if executor is None or executor.is_shutdown():
        return True
    errors = getattr(executor, "_error_queue", None)
    check = getattr(llm, "_check_health", None)
    return (errors is not None and not errors.empty()) or (check is not None and not check())


def _bias_tensor(bias: Mapping[int, float], vocab_size: int) -> Any:
    """Biases as a tensor of shape [vocab_size], float32."""
    import torch

    values = np.zeros(vocab_size, np.float32)
    values[list(bias)] = list(bias.values())
    return torch.from_numpy(values)


def _grammar_checker() -> Any:
    from xgrammar import Grammar

    return Grammar.from_ebnf
