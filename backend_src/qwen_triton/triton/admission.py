"""Admission of Triton requests to the dispatcher: the steps that all models with an engine have in common.

Does not know what a model's tensors mean: each model decodes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..serving.answer import AnswerEncoder
from ..serving.dispatcher import Dispatcher
from ..serving.reply import Reply
from ..serving.request_metrics import RequestMetrics
from ..tensors.arrays import Array
from ..tensors.contract import Tensor
from ..tensors.limits import DEFAULT_LIMITS, Limits
from ..tensors.request_parameters import limit_wait, queue_timeout_s
from ..types import EngineRequest
from .requests import RequestReader
from .responses import TritonResponder


class DecodedRequest(NamedTuple):
    """What a model makes of a request: `rows[r]` are the sequences for prompt r, of which the `keep` best are sent."""

    rows: Sequence[Sequence[EngineRequest]]
    encoder: AnswerEncoder
    streamed: bool
    keep: int


class Admission:
    """Admits the requests of one model. `queue_timeout_ms`: the longest a request may wait for a slot, 0 = no bound."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        metrics: RequestMetrics,
        inputs: Sequence[Tensor],
        queue_timeout_ms: int,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._reader = RequestReader(inputs, limits)
        self._queue_timeout_ms = queue_timeout_ms

    def admit(
        self, request: Any, responder: TritonResponder, decode: Callable[[dict[str, Array]], DecodedRequest | None]
    ) -> None:
        """Decodes, checks and submits one request; a fault of it becomes its response.

        `decode` raises QwenTritonError for what it refuses; None: nothing is generated, the request ends without a
        response.
        """
        timer = self._metrics.start()
        try:
            self._reader.check_envelope(request)
            arrays, parameters = self._reader.read(request)
            timeout_s = queue_timeout_s(request.timeout(), parameters, self._queue_timeout_ms)
            decoded = decode(arrays)
            if decoded is None:
                self._dispatcher.post(responder.finish)
                return
            rows, encoder, streamed, keep = decoded
            reply = Reply(responder, rows, encoder, timer, streamed=streamed, keep=keep)
            self._dispatcher.admit(reply, limit_wait(reply.requests, timeout_s))
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            timer.failed(error)
            self._dispatcher.post(partial(responder.fail, error))
