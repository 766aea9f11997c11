"""Responses of one Triton request, and the one place where our errors become Triton's codes."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Mapping
from typing import Any

import triton_python_backend_utils as pb

from ..ensemble.ack_ledger import Ledger
from ..ensemble.ack_tag import append_tag
from ..errors import Cancelled, InvalidRequest, Unavailable
from ..tensors.arrays import Array
from ..tensors.engine_outputs import OUTPUTS

_log = logging.getLogger(__name__)


_NOT_OF_AN_ENSEMBLE = "context_phase_params"


def triton_error(error: Exception, request_id: str) -> Any:
    """The error as the caller sees it. What is not the caller's fault is logged and shown as a request id only."""
    if isinstance(error, InvalidRequest):
        return pb.TritonError(str(error), pb.TritonError.INVALID_ARG)
    if isinstance(error, Unavailable):
        return pb.TritonError(str(error), pb.TritonError.UNAVAILABLE)
    if isinstance(error, Cancelled):
        return pb.TritonError(str(error), pb.TritonError.CANCELLED)
    name = request_id or secrets.token_hex(8)
    _log.error("request %s failed: %s", name, error, exc_info=error)
    return pb.TritonError(
        f"internal error; the server's log has the cause under request {name}", pb.TritonError.INTERNAL
    )


class TritonResponder:
    """Answers one request through its response sender; works for decoupled models and for others.

    The server forgets the request with its final response, and a question about a forgotten one crashes it
    (2.51.0, TRITONBACKEND_ResponseFactoryIsCancelled): so asking and ending exclude each other.
    """

    def __init__(self, request: Any) -> None:
        self.request_id: str = request.request_id()
        self._sender = request.get_response_sender()
        self._wanted = frozenset(request.requested_output_names())
        self._written: list[tuple[Any, bool]] = []
        self._ending = threading.Lock()
        self._ended = False

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        wanted = self._wanted
        tensors = [pb.Tensor(name, array) for name, array in arrays.items() if name in wanted]
        self._written.append((pb.InferenceResponse(tensors), final))

    def flush(self) -> None:
        written, self._written = self._written, []
        for response, final in written:
            if final:
                self._end(response)
            else:
                self._sender.send(response)

    def finish(self) -> None:
        """Ends the request without a response more."""
        self._end()

    def fail(self, error: Exception) -> None:
        self.flush()
        self._end(pb.InferenceResponse(error=triton_error(error, self.request_id)))

    def gone(self) -> bool:
        with self._ending:
            return not self._ended and bool(self._sender.is_cancelled())

    def _end(self, *response: Any) -> None:
        with self._ending:
            self._ended = True
            self._sender.send(*response, flags=pb.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


class WatchedResponder(TritonResponder):
    """Tags the chunks of a watched call, and believes the ledger where the server says nothing of a caller's leaving."""

    def __init__(self, request: Any, ledger: Ledger) -> None:
        super().__init__(request)
        self._ledger = ledger
        self._number: int | None = None

    def watch(self) -> None:
        """Call it before the first response, of a request whose ids go to postprocessing.

        Only readers that take the length see tags: one that does not ask for it is not watched, nor is one that asks
        for everything there is, as a client does that names no outputs.
        """
        if self._wanted.issuperset(OUTPUTS) and _NOT_OF_AN_ENSEMBLE not in self._wanted:
            self._number = self._ledger.begin(self._wanted)

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        if self._number is None or final:
            super().write(arrays, final=final)
            return
        begun_ns = time.monotonic_ns()
        self._ledger.sending(self._number, begun_ns)
        super().write({**arrays, "output_ids": append_tag(arrays["output_ids"], self._number, begun_ns)}, final=False)

    def flush(self) -> None:
        super().flush()
        if self._number is not None:
            self._ledger.sent(self._number, time.monotonic_ns())

    def gone(self) -> bool:
        if super().gone():
            return True
        return self._number is not None and self._ledger.lost(self._number, time.monotonic_ns())

    def _end(self, *response: Any) -> None:
        try:
            super()._end(*response)
        finally:
            if self._number is not None:
                self._ledger.end(self._number)
