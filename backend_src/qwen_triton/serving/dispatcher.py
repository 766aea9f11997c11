"""The dispatcher between models and engine: admits requests, gives each to a sender and routes its chunks there.

Any thread may admit a request; its responses are sent by the thread of its sender only, in order. The first sender's
thread also receives from the engine. Knows neither Triton nor text.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Sequence
from functools import partial

from ..engines.engine import EngineInfo
from ..engines.link import EngineLink
from ..errors import QwenTritonError, Unavailable
from ..types import EngineRequest, TokenChunk
from .disconnects import DisconnectWatcher
from .reply import Reply
from .send_rate import SendBudget, SendRate
from .sender import ReplySequence, Sender

_SENDERS = 3
"""Number of sender threads. 500 concurrent streams on 2 cores of a Xeon VM: median gap between the responses of a stream
160 ms with 1, 95 ms with 3, unchanged with 4 (`qwen-triton bench overhead`)."""
SHUTTING_DOWN = "the server is shutting down; try again"


class Dispatcher:
    """Serves requests with one engine. `max_in_flight`: sequences admitted at once, 0 for no bound. `rate`: of responses.

    A request of more sequences is admitted when nothing else is in flight.
    """

    def __init__(self, engine: EngineLink, max_in_flight: int = 0, rate: SendRate | None = None) -> None:
        self._engine = engine
        self._max_in_flight = max_in_flight
        self._keys = itertools.count(secrets.randbits(48))
        """Random, because they are request ids too in an engine that serves other models as well."""
        self._sequences: dict[int, ReplySequence] = {}
        self._disconnects = DisconnectWatcher()
        self._stopping = False
        self._draining = False
        self._rate = rate or SendRate()
        self._senders = [Sender(SendBudget(self._rate, _SENDERS), self._release) for _ in range(_SENDERS)]
        self._first, *others = self._senders
        self._threads = [
            threading.Thread(target=self._run, name="dispatcher", daemon=True),
            *(threading.Thread(target=sender.run, name="sender", daemon=True) for sender in others),
        ]

    @property
    def in_flight(self) -> int:
        """Requests admitted and not yet answered."""
        return sum(len(sender.replies) for sender in self._senders)

    def states(self) -> dict[str, float]:
        """The dispatcher's gauges, by the name of their metric."""
        return {"requests_in_flight": self.in_flight}

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()
        self._disconnects.start()

    def stop(self) -> None:
        """Ends the threads and closes the engine's link; requests still in flight are answered Unavailable."""
        self._stopping = True
        for sender in self._senders:
            sender.stop()
        self._engine.wake()
        for thread in self._threads:
            thread.join()
        self._disconnects.stop()
        for sender in self._senders:
            sender.run_posted()
        for sender, reply in self._replies():
            sender.fail(reply, Unavailable(SHUTTING_DOWN))
        self._engine.close()

    def drain(self) -> None:
        """Refuses new requests from now on; those admitted go on."""
        self._draining = True

    def idle(self) -> bool:
        """Whether every request has had its last response, those of clients that have disconnected included."""
        return not self.in_flight and not self._disconnects.pending and not any(s.has_posted for s in self._senders)

    def info(self) -> EngineInfo:
        """The engine's facts. Raises Unavailable when no engine answers in time."""
        return self._engine.info()

    def post(self, action: Callable[[], None]) -> None:
        """Runs `action` on a sender's thread: only those send responses."""
        self._post(self._first, action)

    def runs(self, request_id: str) -> bool:
        """Whether a request of that id is admitted and not yet answered."""
        return any(reply.request_id == request_id for _, reply in self._replies())

    def cancel(self, request_id: str = "", call: str = "") -> None:
        """Ends the requests of that id, or of that call, with finish «cancelled» and what was generated for them."""
        for sender, reply in self._replies():
            if reply.call == call if call else reply.request_id == request_id:
                self._post(sender, partial(sender.finish_cancelled, reply, self._engine.finish))

    def admit(self, reply: Reply, requests: Sequence[EngineRequest]) -> None:
        """Submits a reply's sequences to the engine. Raises Unavailable beyond `max_in_flight`, and once drained.

        From here on the reply's sender answers it, also where the engine cannot be reached.
        """
        if self._draining:
            raise Unavailable(SHUTTING_DOWN)
        self._check_room(reply.sequences)
        sender = min(self._senders, key=lambda sender: len(sender.replies))
        keys = list(itertools.islice(self._keys, len(requests)))
        self._sequences.update(zip(keys, sender.add_reply(reply, keys), strict=True))
        try:
            self._engine.submit(list(zip(keys, requests, strict=True)))
        except Exception as error:  # whatever keeps a request from the engine, its client gets an answer
            self._post(sender, partial(sender.fail, reply, error))
            return
        self._cancel_released(keys)
        drop = partial(self._drop, sender, reply)
        self._disconnects.watch(reply.client_gone, lambda: self._post(sender, drop), lambda: reply in sender.replies)

    def _check_room(self, sequences: int) -> None:
        if not self._max_in_flight:
            return
        sizes = [reply.sequences for _, reply in self._replies()]
        in_flight = sum(sizes)
        if in_flight and in_flight + sequences > self._max_in_flight:
            if sequences == 1 and len(sizes) == in_flight:
                raise Unavailable(f"{in_flight} requests are in flight, the most admitted at once; try again later")
            raise Unavailable(
                f"{in_flight} sequences are in flight and {sequences} more are asked for; "
                f"{self._max_in_flight} are the most admitted at once (repository.max_in_flight); try again later"
            )

    def on_chunk(self, key: int, chunk: TokenChunk) -> None:
        """Routes a chunk to its sender (engines.link.ChunkReceiver). Hot: runs for every token of every request."""
        sequence = self._sequences.get(key)
        if sequence is not None:
            sequence.sender.add_chunk(sequence, chunk)

    def on_refusal(self, key: int, error: QwenTritonError) -> None:
        """Fails the request of a sequence that the engine did not take (engines.link.ChunkReceiver)."""
        sequence = self._sequences.get(key)
        if sequence is not None:
            reply, sender = sequence.reply, sequence.sender
            self._post(sender, partial(sender.fail, reply, reply.numbered(sequence.index, error)))

    def _run(self) -> None:
        """Alternates between the engine's link and the first sender's batches."""
        while not self._stopping:
            self._engine.receive(self, self._first.wait_s())
            self._first.send_batch()
            self._rate.adapt()

    def _replies(self) -> list[tuple[Sender, Reply]]:
        """Copies, because other threads admit requests meanwhile."""
        return [(sender, reply) for sender in self._senders for reply in list(sender.replies)]

    def _post(self, sender: Sender, action: Callable[[], None]) -> None:
        sender.post(action)
        if sender is self._first:
            self._engine.wake()

    def _release(self, key: int) -> None:
        """Stops routing a sequence and frees its slot in the engine."""
        self._sequences.pop(key, None)
        self._engine.cancel(key)

    def _cancel_released(self, keys: Sequence[int]) -> None:
        """A sequence that was released while its submit waited was unknown to the engine then: cancels it again."""
        for key in keys:
            if key not in self._sequences:
                self._engine.cancel(key)

    def _drop(self, sender: Sender, reply: Reply) -> None:
        if sender.drop(reply):
            self._disconnects.delayed_final_response(lambda: self._post(sender, reply.close))
