"""The least that a decoupled Python model can do, as a model.py: tokens of a fixed text at a set pace, and nothing else.

One thread makes `tokens_per_step` tokens for every request each `step_ms`; another detokenizes and sends what has come.
No code of ours does any of it: only the tensors' names are. Model parameters: tokenizer (a file), step_ms, tokens_per_step.
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from itertools import cycle, islice
from typing import Any

import numpy as np
import triton_python_backend_utils as pb
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from qwen_triton.tensors.contract import NUM_OUTPUT_TOKENS, TEXT_OUTPUT

_FINAL = pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL
_TEXT = (
    "大模型推理加速：TensorRT-LLM on Triton 🌍🚀 is fast. 你好，请问你叫什么名字？ "
    "The quick brown fox jumps over the lazy dog."
)


class _Sequence:
    """One request. `unsent`: its tokens that are not sent yet; `left`: how many are still to come."""

    __slots__ = ("count", "decoder", "finished", "ids", "left", "queued", "sender", "unsent")

    def __init__(self, sender: Any, count: int, ids: Sequence[int]) -> None:
        self.sender = sender
        self.count = self.left = count
        self.ids = cycle(ids)
        self.decoder = DecodeStream(skip_special_tokens=True)
        self.unsent: deque[int] = deque()
        self.finished = self.queued = False


class Floor:
    """A model of two threads."""

    def initialize(self, args: Mapping[str, str]) -> None:
        parameters = {k: v["string_value"] for k, v in json.loads(args["model_config"])["parameters"].items()}
        self._tokenizer = Tokenizer.from_file(parameters["tokenizer"])
        self._ids = self._tokenizer.encode(_TEXT).ids
        self._step_s, self._tokens = float(parameters["step_ms"]) / 1e3, int(parameters["tokens_per_step"])
        self._arrived: deque[_Sequence] = deque()
        self._awake = threading.Event()
        self._due: list[_Sequence] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._generate, daemon=True).start()
        threading.Thread(target=self._send, daemon=True).start()

    def execute(self, requests: Sequence[Any]) -> None:
        for request in requests:
            count = int(pb.get_input_tensor_by_name(request, "max_tokens").as_numpy().reshape(-1)[0])
            self._arrived.append(_Sequence(request.get_response_sender(), count, self._ids))
        self._awake.set()

    def _generate(self) -> None:
        running: list[_Sequence] = []
        due = time.perf_counter()
        while True:
            while self._arrived:
                running.append(self._arrived.popleft())
            if not running:
                self._awake.wait()
                self._awake.clear()
                due = time.perf_counter()
                continue
            running = self._step(running)
            due += self._step_s
            wait_s = due - time.perf_counter()
            if wait_s > 0:
                time.sleep(wait_s)
            else:
                due = time.perf_counter()

    def _step(self, running: Sequence[_Sequence]) -> list[_Sequence]:
        """Makes the next tokens of each; returns those that are not finished."""
        left, due = [], []
        for sequence in running:
            count = min(self._tokens, sequence.left)
            sequence.unsent.extend(islice(sequence.ids, count))
            sequence.left -= count
            if sequence.left:
                left.append(sequence)
            else:
                sequence.finished = True
            if not sequence.queued:
                sequence.queued = True
                due.append(sequence)
        if due:
            with self._changed:
                self._due += due
                self._changed.notify()
        return left

    def _send(self) -> None:
        while True:
            with self._changed:
                while not self._due:
                    self._changed.wait()
                due, self._due = self._due, []
            for sequence in due:
                self._send_new(sequence)

    def _send_new(self, sequence: _Sequence) -> None:
        sequence.queued = False
        finished, text = sequence.finished, ""
        while sequence.unsent:
            text += sequence.decoder.step(self._tokenizer, sequence.unsent.popleft()) or ""
        if not (text or finished):
            return
        tensors = [pb.Tensor(TEXT_OUTPUT, np.array([text.encode()], dtype=np.object_))]
        if finished:
            tensors.append(pb.Tensor(NUM_OUTPUT_TOKENS, np.array([[sequence.count]], dtype=np.int32)))
        sequence.sender.send(pb.InferenceResponse(tensors), flags=_FINAL if finished else 0)


TritonPythonModel = Floor
"""The name that Triton's Python backend looks for."""
