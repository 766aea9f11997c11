"""Cancels requests of an ensemble, whose steps the server does not tell that the client has left.

The engine model is told in stock's way: a second request with the same id and `stop` = true. It goes first, and the
stream is cancelled some time later, because tritonserver 2.51 can abort when a gRPC stream is cancelled while its
ensemble still answers.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import numpy as np

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.contract import INPUT_IDS, INPUT_LENGTHS, OUTPUT_IDS, REQUEST_OUTPUT_LEN, TENSORRT_LLM
from qwen_triton.tensors.text_outputs import TextPiece

from .model_inputs import fit_arrays, wanted_outputs
from .transport import ResponseStream, Transport

SETTLED_S = 0.1
"""Wait before the stream is cancelled. The ensemble's answer ends milliseconds after the engine's, later on a busy
server."""


class EnsembleResponses:
    """A `ResponseStream` whose `cancel` reaches the engine as well."""

    def __init__(self, responses: ResponseStream, transport: Transport, request_id: str) -> None:
        self._responses = responses
        self._transport = transport
        self._request_id = request_id

    def __iter__(self) -> Iterator[list[TextPiece]]:
        return iter(self._responses)

    def cancel(self) -> None:
        try:
            with contextlib.suppress(QwenTritonError):  # the engine has no `stop`, or has ended the request already
                _stop(self._transport, self._request_id)
                time.sleep(SETTLED_S)
        finally:
            self._responses.cancel()


def _stop(transport: Transport, request_id: str) -> None:
    engine = transport.describe(TENSORRT_LLM)
    arrays: dict[str, Array] = {
        INPUT_IDS: np.zeros((1, 1), np.int32),
        INPUT_LENGTHS: np.ones((1, 1), np.int32),
        REQUEST_OUTPUT_LEN: np.ones((1, 1), np.int32),
        "stop": np.ones((1, 1), np.bool_),
    }
    for _ in transport.send(
        engine, fit_arrays(arrays, engine), wanted_outputs([OUTPUT_IDS], engine), request_id, several=True
    ):
        pass
