"""Admission of Triton requests to the dispatcher: the steps that all models with an engine have in common.

Does not know what a model's tensors mean: each model decodes its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..errors import Cancelled, InvalidRequest
from ..serving.answer import AnswerEncoder
from ..serving.dispatcher import Dispatcher
from ..serving.local.connection import LocalResponder
from ..serving.reply import Preparation, Reply, RowPlan
from ..serving.request_metrics import RequestMetrics, RequestTimer
from ..serving.threads import INLINE_BYTES, LONG_BYTES
from ..tensors.arrays import Array, encode_flat_strings
from ..tensors.contract import FORM_INPUTS, TEXT_OUTPUT
from ..tensors.limits import DEFAULT_LIMITS, Limits
from ..tensors.request_parameters import CALL, CANCEL_CALL, LOCAL_SOCKETS, limit_wait, queue_timeout_s
from ..tensors.rows import check_one_response, count_rows
from .requests import RequestReader
from .responses import TritonResponder


class DecodedRequest(NamedTuple):
    """What a model makes of a request: a plan for each prompt, and the encoder of its answers."""

    rows: Sequence[RowPlan]
    encoder: AnswerEncoder


NO_ID = ("", "0")
"""Ids of requests that have none, by stock's rule."""


class Admission:
    """Admits the requests of one model. `queue_timeout_ms`: the longest a request may wait for a slot, 0 = no bound.

    `decoupled`: the model may send several responses to a request. `unique_ids`: a request whose id is that of a running one
    is refused, as stock does: a stop request names the one that it ends by its id only. `local_sockets`: the addresses of the
    model's local servers, where it has some.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        metrics: RequestMetrics,
        model: str,
        queue_timeout_ms: int,
        decoupled: bool,
        limits: Limits = DEFAULT_LIMITS,
        *,
        unique_ids: bool = False,
        local_sockets: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._reader = RequestReader(model, limits)
        self._queue_timeout_ms = queue_timeout_ms
        self._decoupled = decoupled
        self._unique_ids = unique_ids
        self._local_sockets = local_sockets

    def admit(
        self,
        request: Any,
        responder: TritonResponder | LocalResponder,
        decode: Callable[[dict[str, Array]], DecodedRequest],
    ) -> None:
        """Decodes, checks and submits one request; a fault of it becomes its response.

        `decode` raises QwenTritonError for what it refuses. For a request with long prompts, or with a form, it runs on
        another thread, after this method has returned.
        """
        timer = self._metrics.start()
        try:
            self._reader.check_envelope(request)
            content = self._reader.read(request)
            arrays, parameters = content.arrays, content.parameters
            if call := parameters.get(CANCEL_CALL):
                self._dispatcher.cancel(call=str(call))
                self._dispatcher.post(partial(responder.fail, Cancelled()))
                return
            if self._local_sockets and LOCAL_SOCKETS in parameters:
                self._dispatcher.post(partial(_answer, responder, json.dumps(self._local_sockets())))
                return
            timeout_s = queue_timeout_s(request.timeout(), parameters, self._queue_timeout_ms)
            if not self._decoupled:
                check_one_response(arrays)
            if self._unique_ids:
                self._check_id(responder.request_id)
            call = str(parameters.get(CALL, responder.call))
            compiles = any(name in arrays for name in FORM_INPUTS)
            if content.size <= INLINE_BYTES and not compiles:
                reply = self._reply(responder, timer, call, decode, arrays)
                self._dispatcher.admit(reply, limit_wait(reply.requests, timeout_s))
                timer.submitted()
                return
            size = content.size + (LONG_BYTES if compiles else 0)
            preparation = Preparation(
                responder, timer, prompts=count_rows(arrays), size=size, timeout_s=timeout_s, call=call
            )
            kept = content.kept_arrays()
            self._dispatcher.prepare(preparation, partial(self._reply, responder, timer, call, decode, kept))
        except Exception as error:  # an exception that leaves execute fails every request of the batch
            timer.failed(error)
            self._dispatcher.post(partial(responder.fail, error))

    def _reply(
        self,
        responder: TritonResponder | LocalResponder,
        timer: RequestTimer,
        call: str,
        decode: Callable[[dict[str, Array]], DecodedRequest],
        arrays: dict[str, Array],
    ) -> Reply:
        rows, encoder = decode(arrays)
        through = responder.through_server
        return Reply(responder, rows, encoder, timer, at_once=not self._decoupled, call=call, through_server=through)

    def _check_id(self, request_id: str) -> None:
        if request_id not in NO_ID and self._dispatcher.runs(request_id):
            raise InvalidRequest(f"a request with the id {request_id} is in progress; give each an id of its own", "id")


def _answer(responder: TritonResponder | LocalResponder, text: str) -> None:
    responder.write({TEXT_OUTPUT: encode_flat_strings((text,))}, final=True)
    responder.flush()
