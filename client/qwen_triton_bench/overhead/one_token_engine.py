"""Stand-in for NVIDIA's C++ backend, as a model.py: stock's tensors, one token a response, cancelled by `stop`.

Answers with the prompt's token ids, one each `step_ms` (a model parameter); without `streaming` all in one response.
Like the original it refuses requests that do not ask for `output_ids` and `sequence_length`. A request with seed 13
fails at its third token. The parameter `counters` may name a file for the number of running requests. Knows no text.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb

from qwen_triton.tensors.contract import (
    INPUT_IDS,
    INPUT_LENGTHS,
    OUTPUT_IDS,
    RANDOM_SEED,
    REQUEST_OUTPUT_LEN,
    SEQUENCE_LENGTH,
    STREAMING,
)

FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
FAILING_SEED = 13
THREADS = 4


@dataclass(slots=True)
class _Answer:
    """A request's answer. `at`: how many of its `ids` have been emitted."""

    sender: Any
    ids: list[int]
    streaming: bool
    fails: bool
    at: int = 0


class _Emitter:
    """A thread that emits a token of each of its requests at every step."""

    def __init__(self, step_s: float, after_step: Callable[[], None]) -> None:
        self.lock = threading.Lock()
        self.running: dict[str, _Answer] = {}
        self.stopping = False
        self._step_s = step_s
        self._after_step = after_step
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self.stopping:
            started = time.monotonic()
            with self.lock:
                for name, answer in list(self.running.items()):
                    if _advance(answer):
                        del self.running[name]
            self._after_step()
            time.sleep(max(0.0005, self._step_s - (time.monotonic() - started)))


class TritonPythonModel:
    """Divides requests among threads, since sending waits most of its time for a round trip to the server."""

    def initialize(self, args: Mapping[str, str]) -> None:
        parameters = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        self._counters = Path(parameters["counters"]) if "counters" in parameters else None
        step_s = float(parameters["step_ms"]) / 1e3
        self._emitters = [_Emitter(step_s, self._count) for _ in range(THREADS)]
        for emitter in self._emitters:
            emitter.thread.start()

    def execute(self, requests: Sequence[Any]) -> None:
        for request in requests:
            self._start(request)

    def finalize(self) -> None:
        for emitter in self._emitters:
            emitter.stopping = True
        for emitter in self._emitters:
            emitter.thread.join()

    def _start(self, request: Any) -> None:
        sender, name = request.get_response_sender(), request.request_id()
        emitter = self._emitters[hash(name) % THREADS]
        arrays = {tensor.name(): tensor.as_numpy().reshape(-1) for tensor in request.inputs()}
        if not {OUTPUT_IDS, SEQUENCE_LENGTH} <= set(request.requested_output_names()):
            error = pb.TritonError("output_ids and sequence_length must be requested")
            sender.send(pb.InferenceResponse(error=error), flags=FINAL)
        elif "stop" in arrays and arrays["stop"].all():
            with emitter.lock:
                stopped = emitter.running.pop(name, None)
            for ended in (sender,) if stopped is None else (stopped.sender, sender):
                ended.send(pb.InferenceResponse([]), flags=FINAL)  # a model that is not decoupled must send a response
        else:
            with emitter.lock:
                emitter.running[name] = _read(sender, arrays)

    def _count(self) -> None:
        if self._counters is not None:
            self._counters.write_text(str(sum(len(emitter.running) for emitter in self._emitters)))


def _read(sender: Any, arrays: Mapping[str, Any]) -> _Answer:
    seed = next((int(arrays[name][0]) for name in ("seed", RANDOM_SEED) if name in arrays), 0)
    length = min(int(arrays[INPUT_LENGTHS][0]), int(arrays[REQUEST_OUTPUT_LEN][0]))
    ids = arrays[INPUT_IDS].tolist()[:length]
    return _Answer(sender, ids, bool(arrays[STREAMING].all()), seed == FAILING_SEED)


def _advance(answer: _Answer) -> bool:
    """Emits the next token. Returns whether the request has ended."""
    answer.at += 1
    if answer.fails and answer.at == 3:
        answer.sender.send(pb.InferenceResponse(error=pb.TritonError("out of blocks")), flags=FINAL)
        return True
    final = answer.at >= len(answer.ids)
    if answer.streaming:
        answer.sender.send(_response(answer.ids[answer.at - 1 : answer.at]), flags=FINAL if final else 0)
    elif final:
        answer.sender.send(_response(answer.ids), flags=FINAL)
    return final


def _response(ids: list[int]) -> Any:
    return pb.InferenceResponse(
        [
            pb.Tensor(OUTPUT_IDS, np.array([[ids]], dtype=np.int32)),
            pb.Tensor(SEQUENCE_LENGTH, np.array([[len(ids)]], dtype=np.int32)),
        ]
    )
