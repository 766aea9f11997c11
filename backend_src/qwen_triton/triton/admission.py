"""Admission of Triton requests to the dispatcher: the steps that all models with an engine have in common.

Does not know what a model's tensors mean: each model decodes its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..errors import Cancelled
from ..serving.answer import AnswerEncoder
from ..serving.dispatcher import Dispatcher
from ..serving.reply import Reply, RowPlan
from ..serving.request_metrics import RequestMetrics, RequestTimer
from ..tensors.arrays import Array
from ..tensors.limits import DEFAULT_LIMITS, Limits
from ..tensors.request_parameters import CALL, CANCEL_CALL, limit_wait, queue_timeout_s
from ..tensors.rows import check_one_response
from .deferred import DeferredWork
from .requests import RequestReader
from .responses import TritonResponder


class DecodedRequest(NamedTuple):
    """What a model makes of a request: a plan for each prompt, and the encoder of its answers."""

    rows: Sequence[RowPlan]
    encoder: AnswerEncoder


Decode = Callable[[dict[str, Array]], DecodedRequest | Callable[[], DecodedRequest]]
"""What a model makes of a request's arrays, or, where that takes long, a function that makes it later."""


class Admission:
    """Admits the requests of one model. `queue_timeout_ms`: the longest a request may wait for a slot, 0 = no bound.

    `decoupled`: the model may send several responses to a request.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        metrics: RequestMetrics,
        model: str,
        queue_timeout_ms: int,
        decoupled: bool,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._reader = RequestReader(model, limits)
        self._queue_timeout_ms = queue_timeout_ms
        self._decoupled = decoupled
        self._later = DeferredWork()

    def admit(self, request: Any, responder: TritonResponder, decode: Decode) -> None:
        """Decodes, checks and submits one request; a fault of it becomes its response.

        `decode`, and what it returns, raise QwenTritonError for what they refuse.
        """
        timer = self._metrics.start()
        try:
            self._reader.check_envelope(request)
            arrays, parameters, _ = self._reader.read(request)
            if call := parameters.get(CANCEL_CALL):
                self._later.cancel(str(call))
                self._dispatcher.cancel(call=str(call))
                self._dispatcher.post(partial(responder.fail, Cancelled("the request was cancelled")))
                return
            timeout_s = queue_timeout_s(request.timeout(), parameters, self._queue_timeout_ms)
            if not self._decoupled:
                check_one_response(arrays)
            decoded = decode(arrays)
            call = str(parameters.get(CALL, ""))
            submit = partial(self._submit, responder, timer, call, timeout_s)
            if isinstance(decoded, DecodedRequest):
                submit(decoded)
            else:
                self._later.put(call, partial(self._submit_later, responder, timer, submit, decoded))
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            self._fail(responder, timer, error)

    def idle(self) -> bool:
        """Whether every request has had its last response."""
        return not self._later.pending and self._dispatcher.idle()

    def stop(self) -> None:
        """Returns when every request is submitted or refused."""
        self._later.stop()

    def _submit(
        self,
        responder: TritonResponder,
        timer: RequestTimer,
        call: str,
        timeout_s: float | None,
        decoded: DecodedRequest,
    ) -> None:
        reply = Reply(responder, decoded.rows, decoded.encoder, timer, at_once=not self._decoupled, call=call)
        self._dispatcher.admit(reply, limit_wait(reply.requests, timeout_s))

    def _submit_later(
        self,
        responder: TritonResponder,
        timer: RequestTimer,
        submit: Callable[[DecodedRequest], None],
        decode: Callable[[], DecodedRequest],
        cancelled: bool,
    ) -> None:
        try:
            if cancelled:
                raise Cancelled("the request was cancelled")
            submit(decode())
        except Exception as error:  # each request gets an answer
            self._fail(responder, timer, error)

    def _fail(self, responder: TritonResponder, timer: RequestTimer, error: Exception) -> None:
        timer.failed(error)
        self._dispatcher.post(partial(responder.fail, error))
