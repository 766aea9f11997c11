"""The dispatcher between models and engine: admits requests, gives each to a sender and routes its chunks there.

Any thread may admit a request; its responses are sent by the thread of its sender only, in order. The first sender's
thread also receives from the engine. A long prompt is made by a pool before its request is admitted: from its arrival on
the request counts, may be cancelled, and ends when its client has disconnected or its queue timeout is over. Knows neither
Triton nor text.
"""

from __future__ import annotations

import itertools
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from ..engines.engine import EngineInfo
from ..engines.link import EngineLink
from ..errors import Cancelled, QwenTritonError, Unavailable
from ..tensors.request_parameters import limit_wait
from ..types import EngineRequest, TokenChunk
from .disconnects import DisconnectWatcher
from .reply import Preparation, Reply
from .send_rate import SendBudget, SendRate
from .sender import ReplySequence, Sender
from .threads import PromptPool, prompt_threads

_SENDERS = 3
"""Number of sender threads. 500 concurrent streams on 2 cores of a Xeon VM: median gap between the responses of a stream
160 ms with 1, 95 ms with 3, unchanged with 4 (`qwen-triton bench overhead`)."""
_GATHERED = 8
"""Requests that are submitted together: the first waits for the others' prompts, some 0.1 ms each."""
_EXPIRED = "the request's timeout was over before its prompt was made; try again later"
SHUTTING_DOWN = "the server is shutting down; try again"


class _Submission(NamedTuple):
    """A reply with its sender, and its sequences as the engine gets them, with their keys."""

    sender: Sender
    reply: Reply
    keys: Sequence[int]
    requests: Sequence[EngineRequest]


class _Gathering(threading.local):
    """Requests that a thread submits together; None: each at once."""

    submissions: list[_Submission] | None = None


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
        self._pool = PromptPool(prompt_threads())
        self._preparing: set[Preparation] = set()
        """Requests whose prompts are being made. Whoever takes one out ends it, or admits it."""
        self._admitting = threading.Lock()
        """Held while the room is checked and taken, and for each change of `_preparing`."""
        self._gathering = _Gathering()
        self._stopping = False
        self._draining = False
        self._rate = rate or SendRate()
        self._senders = [
            Sender(SendBudget(self._rate, partial(self._share, number)), self._release) for number in range(_SENDERS)
        ]
        self._first, *others = self._senders
        self._threads = [
            threading.Thread(target=self._run, name="dispatcher", daemon=True),
            *(threading.Thread(target=sender.run, name="sender", daemon=True) for sender in others),
        ]

    @property
    def in_flight(self) -> int:
        """Requests taken and not yet answered."""
        return len(self._preparing) + sum(len(sender.replies) for sender in self._senders)

    def states(self) -> dict[str, float]:
        """The dispatcher's gauges, by the name of their metric."""
        return {"requests_in_flight": self.in_flight}

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()
        self._disconnects.start()
        self._pool.start()

    def stop(self) -> None:
        """Ends the threads and closes the engine's link; requests still in flight are answered Unavailable."""
        self._stopping = True
        self._pool.stop()
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
        """Refuses new requests from now on; those taken before go on."""
        self._draining = True

    def idle(self) -> bool:
        """Whether every request has had its last response, those of clients that have disconnected included."""
        return not self.in_flight and not self._disconnects.pending and not any(s.has_posted for s in self._senders)

    def batches(self) -> list[int | None]:
        """The number of the batch that each sender is sending, None for one that sends nothing now."""
        return [sender.batch for sender in self._senders]

    def info(self) -> EngineInfo:
        """The engine's facts. Raises Unavailable when no engine answers in time."""
        return self._engine.info()

    def post(self, action: Callable[[], None]) -> None:
        """Runs `action` on a sender's thread: only those send responses."""
        self._post(self._first, action)

    def runs(self, request_id: str) -> bool:
        """Whether a request of that id is taken and not yet answered."""
        with self._admitting:  # a request that passes from one to the other is in neither
            requests: list[Preparation | Reply] = [*self._preparing, *(reply for _, reply in self._replies())]
        return any(request.request_id == request_id for request in requests)

    def cancel(self, request_id: str = "", call: str = "") -> None:
        """Ends the requests of that id, or of that call, with finish «cancelled» and what was generated for them.

        One whose prompt is being made is answered so once it is made; by its call, it ends at once with an error, because
        nobody reads its answer.
        """

        def is_meant(request: Reply | Preparation) -> bool:
            return request.call == call if call else request.request_id == request_id

        with self._admitting:
            preparing, replies = list(filter(is_meant, self._preparing)), self._replies()
            for preparation in preparing:
                preparation.cancelled = True
        for preparation in preparing if call else ():
            self._fail_prepared(preparation, Cancelled())
        for sender, reply in replies:
            if is_meant(reply):
                self._post(sender, partial(sender.finish_cancelled, reply, self._engine.finish))

    def disconnected(self, client: str) -> None:
        """Ends the requests of a client that has gone: those whose call is its name with a point and a number."""
        calls = f"{client}."
        with self._admitting:
            preparing = [preparation for preparation in self._preparing if preparation.call.startswith(calls)]
            replies = [(sender, reply) for sender, reply in self._replies() if reply.call.startswith(calls)]
        for preparation in preparing:
            self._fail_prepared(preparation, Cancelled())
        for sender, reply in replies:
            self._post(sender, partial(sender.fail, reply, Cancelled()))

    def prepare(self, preparation: Preparation, make: Callable[[], Reply]) -> None:
        """Has `make` run on the pool, and admits the reply that it returns. Raises Unavailable as `admit` does.

        What `make` raises is the request's answer.
        """
        with self._admitting:
            if self._draining:
                raise Unavailable(SHUTTING_DOWN)
            self._check_room(preparation.prompts)
            self._preparing.add(preparation)
        self._disconnects.watch(
            lambda: preparation.wait_s() == 0 or preparation.client_gone(),
            lambda: self._abandon(preparation),
            lambda: preparation in self._preparing,
        )
        self._pool.submit(preparation.size, partial(self._make, preparation, make))

    def admit(self, reply: Reply, requests: Sequence[EngineRequest]) -> None:
        """Submits a reply's sequences to the engine. Raises Unavailable beyond `max_in_flight`, and once drained.

        From here on the reply's sender answers it, also where the engine cannot be reached.
        """
        with self._admitting:
            if self._draining:
                raise Unavailable(SHUTTING_DOWN)
            self._check_room(reply.sequences)
            sender, keys = self._take(reply)
        submission = _Submission(sender, reply, keys, requests)
        gathered = self._gathering.submissions
        if gathered is None:
            self._submit([submission])
            return
        gathered.append(submission)
        if len(gathered) == _GATHERED:
            self._submit_gathered(gathered)

    @contextmanager
    def gathering(self) -> Iterator[None]:
        """Submits requests that this thread admits meanwhile eight at a time: a message to the engine costs both ends."""
        gathered = self._gathering.submissions = list[_Submission]()
        try:
            yield
        finally:
            self._gathering.submissions = None
            self._submit_gathered(gathered)

    def _submit_gathered(self, gathered: list[_Submission]) -> None:
        if gathered:
            together = gathered[:]
            gathered.clear()
            self._submit(together)

    def _take(self, reply: Reply) -> tuple[Sender, list[int]]:
        """Gives a reply to a sender and keys to its sequences.

        What does not go through the server waits for nobody: handing it to another thread would cost more than sending it.
        """
        sender = self._first
        if reply.through_server:
            sender = min(self._senders, key=lambda sender: len(sender.replies))
        keys = list(itertools.islice(self._keys, len(reply.requests)))
        self._sequences.update(zip(keys, sender.add_reply(reply, keys), strict=True))
        return sender, keys

    def _submit(self, submissions: Sequence[_Submission]) -> None:
        """Submits requests together; where the engine cannot take them so, each alone, because one may be at fault."""
        try:
            self._engine.submit([pair for one in submissions for pair in zip(one.keys, one.requests, strict=True)])
        except Exception as error:  # whatever keeps a request from the engine, its client gets an answer
            if len(submissions) > 1:
                for one in submissions:
                    self._submit([one])
                return
            sender, reply, *_ = submissions[0]
            self._post(sender, partial(sender.fail, reply, error))
            return
        for one in submissions:
            self._cancel_released(one.keys)
            self._watch(one.sender, one.reply)

    def _share(self, number: int) -> float:
        """The part of all responses that a sender may send: that of the requests that it has."""
        counts = [len(sender.replies) for sender in self._senders]
        return (counts[number] + 1) / (sum(counts) + len(counts))

    def _watch(self, sender: Sender, reply: Reply) -> None:
        """Asks from time to time whether the client is there; others than the server's say so (`disconnected`)."""
        if not reply.through_server:
            return
        drop = partial(self._drop, sender, reply)
        self._disconnects.watch(reply.client_gone, lambda: self._post(sender, drop), lambda: reply in sender.replies)

    def _make(self, preparation: Preparation, make: Callable[[], Reply]) -> None:
        """Makes a request's prompts and admits it, unless it has ended meanwhile. On a thread of the pool."""
        if preparation not in self._preparing:
            return
        try:
            if self._stopping:
                raise Unavailable(SHUTTING_DOWN)
            if preparation.wait_s() == 0:
                raise Unavailable(_EXPIRED)
            self._admit_prepared(preparation, make())
        except Exception as error:  # whatever is wrong with a request, its client gets an answer, and the others go on
            self._fail_prepared(preparation, error)

    def _admit_prepared(self, preparation: Preparation, reply: Reply) -> None:
        wait_s = preparation.wait_s()
        if wait_s == 0:
            raise Unavailable(_EXPIRED)
        with self._admitting:
            if preparation not in self._preparing:
                return
            self._check_room(reply.sequences, but=preparation)
            sender, keys = self._take(reply)
            self._preparing.discard(preparation)
        if preparation.cancelled:
            self._post(sender, partial(sender.finish_cancelled, reply, lambda _: False))
            return
        self._submit([_Submission(sender, reply, keys, limit_wait(reply.requests, wait_s))])
        preparation.submitted()

    def _end(self, preparation: Preparation) -> bool:
        """Takes a request out of those that are being prepared; whoever gets True answers it."""
        with self._admitting:
            found = preparation in self._preparing
            self._preparing.discard(preparation)
            return found

    def _fail_prepared(self, preparation: Preparation, error: Exception) -> None:
        if self._end(preparation):
            self.post(partial(preparation.fail, error))

    def _abandon(self, preparation: Preparation) -> None:
        """Ends a request whose client has disconnected, or whose timeout is over, before its prompt was made."""
        if preparation.wait_s() == 0:
            self._fail_prepared(preparation, Unavailable(_EXPIRED))
        elif self._end(preparation):
            cancelled = partial(preparation.fail, Cancelled())
            self._disconnects.delayed_final_response(lambda: self.post(cancelled))

    def _check_room(self, sequences: int, but: Preparation | None = None) -> None:
        """Raises Unavailable where so many more do not fit; `but` is not counted, because it becomes them."""
        if not self._max_in_flight:
            return
        sizes = [reply.sequences for _, reply in self._replies()]
        sizes += [preparation.prompts for preparation in self._preparing if preparation is not but]
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
