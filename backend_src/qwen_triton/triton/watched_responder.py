"""The responder of the engine model: it also finds out when the caller of an ensemble has left."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..ensemble.ack_ledger import Ledger
from ..ensemble.ack_tag import append_tag
from ..tensors.engine_outputs import OUTPUTS
from ..tensors.tensor import Array
from .responses import TritonResponder

_NOT_OF_AN_ENSEMBLE = "context_phase_params"


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
