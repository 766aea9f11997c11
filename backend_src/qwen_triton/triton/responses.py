"""Responses to one Triton request, and the one place where this project's errors become Triton's codes."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb

from ..ensemble.ack_ledger import AckLedger
from ..errors import Cancelled, InvalidRequest, Unavailable, caller_text
from ..tensors.arrays import Array
from ..tensors.contract import CONTEXT_PHASE_PARAMS
from ..tensors.engine_outputs import OUTPUTS
from .requests import read_request_id

_NOT_OF_AN_ENSEMBLE = CONTEXT_PHASE_PARAMS
"""An output that no ensemble asks for; a client that names no outputs asks for all of them, this one included."""


def triton_error(error: Exception, request_id: str) -> Any:
    """The error as the client sees it (errors.caller_text), with its code."""
    codes = ((InvalidRequest, "INVALID_ARG"), (Unavailable, "UNAVAILABLE"), (Cancelled, "CANCELLED"))
    code = next((code for kind, code in codes if isinstance(error, kind)), "INTERNAL")
    return pb.TritonError(caller_text(error, request_id), getattr(pb.TritonError, code))


class TritonResponder:
    """Sends the responses of one request through its response sender; for decoupled models and for others.

    Triton frees a request when its final response is sent; `is_cancelled()` after that crashes tritonserver 2.51
    (TRITONBACKEND_ResponseFactoryIsCancelled). `_ending` serialises the two.
    """

    through_server = True
    """As `Reply` has it."""
    call = ""
    """The name by which the request is cancelled, where its parameters say none."""

    def __init__(self, request: Any) -> None:
        self.request_id = read_request_id(request) or ""
        self._sender = request.get_response_sender()
        self._requested = frozenset(request.requested_output_names())
        self._unsent: list[tuple[Any, bool]] = []
        self._ending = threading.Lock()
        self._ended = False

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        """Builds one response of those arrays that the client asked for; the last one is `final`."""
        requested = self._requested
        tensors = [pb.Tensor(name, array) for name, array in arrays.items() if name in requested]
        self._unsent.append((pb.InferenceResponse(tensors), final))

    def flush(self) -> None:
        """Sends the responses that are built."""
        unsent, self._unsent = self._unsent, []
        for response, final in unsent:
            if final:
                self._end(response)
            else:
                self._sender.send(response)

    def acknowledge(self) -> None:
        """Ends the request with a response without outputs, as stock answers a stop."""
        self._end(pb.InferenceResponse([]))

    def fail(self, error: Exception) -> None:
        """Sends the responses that are built and ends the request with the error."""
        self.flush()
        self._end(pb.InferenceResponse(error=triton_error(error, self.request_id)))

    def gone(self) -> bool:
        """Whether the client has disconnected or cancelled. A round trip to the server."""
        with self._ending:
            return not self._ended and bool(self._sender.is_cancelled())

    def _end(self, *response: Any) -> None:
        with self._ending:
            self._ended = True
            self._sender.send(*response, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class AckedResponder(TritonResponder):
    """A responder that also takes a client for gone whose chunks are not acknowledged, if the request is tracked."""

    def __init__(self, request: Any, ledger: AckLedger) -> None:
        super().__init__(request)
        self._ledger = ledger
        self._request_number: int | None = None

    def track(self) -> int | None:
        """Tracks a streamed request whose ids go to postprocessing; call it before the first response.

        The number that the chunks' tags must have. None for a client that may read what stands behind the ids: one
        that does not ask for their length, or asks for all outputs there are.
        """
        if self._requested.issuperset(OUTPUTS) and _NOT_OF_AN_ENSEMBLE not in self._requested:
            with self._ending:
                if not self._ended:  # nothing ends what begins after that
                    self._request_number = self._ledger.begin(self._requested)
        return self._request_number

    def flush(self) -> None:
        super().flush()
        if self._request_number is not None:
            self._ledger.on_sent(self._request_number, time.monotonic_ns())

    def gone(self) -> bool:
        if super().gone():
            return True
        number = self._request_number
        return number is not None and self._ledger.is_abandoned(number, time.monotonic_ns())

    def _end(self, *response: Any) -> None:
        try:
            super()._end(*response)
        finally:
            if self._request_number is not None:
                self._ledger.end(self._request_number)
