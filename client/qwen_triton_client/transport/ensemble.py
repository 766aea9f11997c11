"""Cancelling a request of an ensemble: the server does not tell the ensemble's steps that the caller has left.

So the engine model is asked as stock's callers ask it: a second request with the same id and `stop` = true. It goes
first, and the stream is let go of when the answer's end has come back: tritonserver 2.51 can abort when a gRPC stream
is cancelled while its ensemble still answers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.contract import TENSORRT_LLM
from qwen_triton.tensors.text_outputs import TextPiece

from .transport import Reply, Wire

SETTLED_S = 0.1
"""From the engine's last tokens to the end of the ensemble's answer: some milliseconds, more on a busy server."""


class EnsembleReply:
    """A reply whose `cancel` reaches the engine as well."""

    def __init__(self, reply: Reply, wire: Wire, request_id: str) -> None:
        self._reply = reply
        self._wire = wire
        self._request_id = request_id

    def __iter__(self) -> Iterator[list[TextPiece]]:
        return iter(self._reply)

    def cancel(self) -> None:
        try:
            with contextlib.suppress(QwenTritonError):  # an engine that has no `stop`, or has ended the request already
                _stop(self._wire, self._request_id)
                time.sleep(SETTLED_S)
        finally:
            self._reply.cancel()


def _stop(wire: Wire, request_id: str) -> None:
    engine = wire.describe(TENSORRT_LLM)
    arrays: dict[str, Array] = {
        "input_ids": np.zeros((1, 1), np.int32),
        "input_lengths": np.ones((1, 1), np.int32),
        "request_output_len": np.ones((1, 1), np.int32),
        "stop": np.ones((1, 1), np.bool_),
    }
    for _ in wire.send(engine, engine.fit(arrays), engine.wanted(["output_ids"]), request_id, stream=True):
        pass
