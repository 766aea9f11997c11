"""The line between models and engine: calls in, merged chunks out.

A call is one Triton request with its sequences. Any thread may admit a call; chunks come back to it from the thread of
its sender only, in order, merged while they waited: an idle line hands every token on at once, a busy one larger pieces.
The first sender's thread also receives from the engine. Another one finds out which callers have left; their calls are
let go of in their senders.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from ..engines.engine import EngineInfo
from ..engines.link import EngineLink
from ..errors import EngineError, QwenTritonError, Unavailable
from ..types import EngineRequest, TokenChunk
from .disconnects import DisconnectWatcher
from .pending import Extras
from .send_rate import SendBudget, SendRate
from .sender import Sender

_SENDERS = 3
"""Threads that send. On two cores and 500 calls the gap between two pieces was 160 ms with one, 95 ms with three; a
fourth gained nothing."""

_log = logging.getLogger(__name__)


class Call(Protocol):
    """What the line sees of a Triton request."""

    request_id: str

    def feed(self, index: int, chunk: TokenChunk) -> bool:
        """Takes what sequence `index` gained and writes what is due. True: the sequence needs no more tokens."""

    def flush(self) -> None:
        """Sends what was written."""

    def fail(self, error: Exception) -> None:
        """Answers the caller with the error, finally."""

    def abandoned(self) -> bool:
        """Whether the caller has left (a round trip to the server)."""

    def close(self) -> None:
        """Ends the response of an abandoned call."""


class _Admitted:
    """A call under way: its sender, the engine keys of its sequences that still run, whether it has heard anything."""

    __slots__ = ("begun", "call", "keys", "sender")

    def __init__(self, call: Call, sender: Sender[_Admitted]) -> None:
        self.call = call
        self.sender = sender
        self.keys: set[int] = set()
        self.begun = False

    @property
    def runs(self) -> bool:
        """Whether it is not answered yet."""
        return self in self.sender.calls


class Dispatcher:
    """Drives every call against one engine. `max_in_flight`: calls admitted at once, more are refused as Unavailable."""

    def __init__(self, engine: EngineLink, max_in_flight: int = 0) -> None:
        self._engine = engine
        self._max_in_flight = max_in_flight
        self._owners: dict[int, tuple[_Admitted, int]] = {}
        self._disconnects = DisconnectWatcher()
        self._stopping = False
        self._rate = SendRate()
        self._senders = [Sender(self._feed, self._flush, SendBudget(self._rate, _SENDERS)) for _ in range(_SENDERS)]
        self._first, *others = self._senders
        self._threads = [
            threading.Thread(target=self._run, name="line", daemon=True),
            *(threading.Thread(target=sender.run, name="sender", daemon=True) for sender in others),
        ]

    @property
    def in_flight(self) -> int:
        """Calls admitted and not yet answered."""
        return sum(len(sender.calls) for sender in self._senders)

    def states(self) -> dict[str, float]:
        """What the line can say of itself, for metrics."""
        return {"requests_in_flight": self.in_flight}

    def start(self) -> None:
        for thread in self._threads:
            thread.start()
        self._disconnects.start()

    def stop(self) -> None:
        """Ends the line's threads; calls still under way are failed."""
        self._stopping = True
        for sender in self._senders:
            sender.stop()
        self._engine.wake()
        for thread in self._threads:
            thread.join()
        self._disconnects.stop()
        for sender in self._senders:
            sender.act()
        for admitted in self._admitted():
            self._fail(admitted, Unavailable("the server is shutting down"))
        self._engine.close()

    def info(self) -> EngineInfo:
        """The engine's facts."""
        return self._engine.info()

    def take(self, work: Callable[[], None]) -> None:
        """Reads a request, checks and admits it: at once, on the thread that has it."""
        work()

    def post(self, action: Callable[[], None]) -> None:
        """Runs something on a sender's thread: only those send responses."""
        self._post(self._first, action)

    def cancel(self, request_id: str) -> None:
        """Ends the calls of that request id as «cancelled», with what they have said."""
        for admitted in self._admitted():
            if admitted.call.request_id == request_id:
                self._post(admitted.sender, partial(self._cut_off, admitted))

    def admit(self, call: Call, requests: Sequence[EngineRequest]) -> None:
        """Submits a call's sequences. Raises Unavailable beyond the bound or without an engine."""
        in_flight = self.in_flight
        if self._max_in_flight and in_flight >= self._max_in_flight:
            raise Unavailable(f"{in_flight} requests are in flight, the most admitted at once; try again later")
        sender = min(self._senders, key=lambda sender: len(sender.calls))
        admitted = _Admitted(call, sender)
        sender.calls.add(admitted)
        try:
            self._engine.submit(requests, lambda keys: self._register(keys, admitted))
        except QwenTritonError:
            sender.calls.discard(admitted)
            raise
        abandon = partial(self._abandon, admitted)
        self._disconnects.watch(call.abandoned, lambda: self._post(sender, abandon), lambda: admitted.runs)

    def _admitted(self) -> list[_Admitted]:
        return [admitted for sender in self._senders for admitted in list(sender.calls)]  # others admit meanwhile

    def _post(self, sender: Sender[_Admitted], action: Callable[[], None]) -> None:
        sender.post(action)
        if sender is self._first:
            self._engine.wake()

    def _register(self, keys: list[int], admitted: _Admitted) -> None:
        admitted.keys.update(keys)
        self._owners.update((key, (admitted, index)) for index, key in enumerate(keys))

    def _release(self, admitted: _Admitted) -> None:
        """Lets go of a call: what its sequences still generate is cancelled."""
        for key in admitted.keys:
            self._owners.pop(key, None)
            self._engine.cancel(key)
        admitted.keys = set()
        admitted.sender.calls.discard(admitted)

    def _run(self) -> None:
        """The first sender's thread: a turn, then a look at the engine's socket."""
        while not self._stopping:
            self._engine.receive(self, self._first.wait_s())
            self._first.send_batch()
            self._rate.adapt()

    def on_chunk(self, key: int, token_ids: list[int], extras: Extras | None) -> None:
        """Takes a chunk from the engine (engines.link.ChunkReceiver)."""
        owner = self._owners.get(key)
        if owner is not None:
            owner[0].sender.add_chunk(key, token_ids, extras, owner[0].begun)

    def on_refusal(self, key: int, error: QwenTritonError) -> None:
        """Takes an engine's refusal (engines.link.ChunkReceiver)."""
        owner = self._owners.get(key)
        if owner is not None:
            self._post(owner[0].sender, partial(self._refuse, owner[0], error))

    def _refuse(self, admitted: _Admitted, error: QwenTritonError) -> None:
        if admitted.runs:
            self._fail(admitted, error)

    def _cut_off(self, admitted: _Admitted) -> None:
        for key in list(admitted.keys):
            self._feed(key, TokenChunk(finish="cancelled"))
        self._flush(admitted)

    def _feed(self, key: int, chunk: TokenChunk) -> _Admitted | None:
        owner = self._owners.get(key)
        if owner is None:
            return None
        admitted, index = owner
        admitted.begun = True
        if chunk.finish == "error":
            _log.error("the engine failed on a request: %s", chunk.error)
            self._fail(admitted, EngineError(chunk.error))
            return None
        try:
            done = admitted.call.feed(index, chunk)
        except Exception as error:  # whatever one call's text does, the others go on
            _log.exception("a call failed")
            self._fail(admitted, error)
            return None
        if done or (chunk.finish and chunk.last):
            self._finish(admitted, key)
        return admitted

    def _flush(self, admitted: _Admitted) -> None:
        try:
            admitted.call.flush()
        except Exception as error:  # whatever one caller does, the others go on
            _log.exception("a call's answer could not be sent")
            self._fail(admitted, error)

    def _finish(self, admitted: _Admitted, key: int) -> None:
        admitted.keys.discard(key)
        self._owners.pop(key, None)
        self._engine.cancel(key)
        if not admitted.keys:
            admitted.sender.calls.discard(admitted)

    def _fail(self, admitted: _Admitted, error: Exception) -> None:
        self._release(admitted)
        try:
            admitted.call.fail(error)
        except Exception:  # a caller that cannot be told is no reason to stop for the others
            _log.exception("a call could not be failed")

    def _abandon(self, admitted: _Admitted) -> None:
        if admitted.runs:
            self._release(admitted)
            self._disconnects.delayed_final_response(lambda: self._post(admitted.sender, admitted.call.close))
