"""A sender: the thread that owns some of the requests in flight, from their admission to their last response.

Sending a response is a round trip to the server, most of it waiting; with several senders the others send meanwhile. What does
not go through the server waits for nobody: one sender has all of it. A request stays with one sender, so its responses keep
their order and its state needs no lock.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

from ..engines.process.chunks import merge_chunks
from ..errors import EngineError, InvalidRequest
from ..types import GUIDED_DECODING_GUIDE, TokenChunk
from .pending import PendingChunks
from .reply import Reply
from .send_rate import SendBudget

_BATCH = 16
"""Responses built and sent together: some milliseconds at most, so that new requests are not kept waiting."""

_log = logging.getLogger(__name__)


class ReplySequence:
    """One sequence of a reply. `running`: its tokens are still wanted; `key`: its name in the engine."""

    __slots__ = ("index", "key", "reply", "running", "sender")

    def __init__(self, sender: Sender, reply: Reply, index: int, key: int) -> None:
        self.sender = sender
        self.reply = reply
        self.index = index
        self.key = key
        self.running = True


class Sender:
    """Any thread may add requests, chunks and actions; everything else runs on the sender's own thread.

    `release(key)` is called once for each sequence whose tokens are no longer wanted.
    """

    def __init__(self, budget: SendBudget, release: Callable[[int], None]) -> None:
        self.replies: dict[Reply, list[ReplySequence]] = {}
        """Replies that are not answered yet, each with its sequences."""
        self.batch: int | None = None
        """The number of the batch that is being sent, None between batches."""
        self._batches = 0
        self._budget = budget
        self._release_key = release
        self._arrived: deque[tuple[PendingChunks[ReplySequence], ReplySequence, TokenChunk]] = deque()
        self._urgent: PendingChunks[ReplySequence] = PendingChunks()
        """Chunks of replies of which nothing has been sent, and last chunks: for those a client waits, or asks again."""
        self._others: PendingChunks[ReplySequence] = PendingChunks()
        self._posted: deque[Callable[[], None]] = deque()
        self._asleep = False
        self._wakes: SimpleQueue[None] = SimpleQueue()
        self._stopping = False

    def wait_s(self) -> float | None:
        """Seconds until `send_batch` has something to do: 0 now, None not before something arrives."""
        if self._posted:
            return 0.0
        return self._budget.wait_s() if self._arrived or self._urgent or self._others else None

    def add_reply(self, reply: Reply, keys: Sequence[int]) -> list[ReplySequence]:
        """Takes a request over; `keys` are the engine's names for its sequences, in order."""
        sequences = [ReplySequence(self, reply, index, key) for index, key in enumerate(keys)]
        self.replies[reply] = sequences
        return sequences

    def add_chunk(self, sequence: ReplySequence, chunk: TokenChunk) -> None:
        """Adds a chunk; those of a reply of which nothing has been sent, and last ones, go before all others."""
        self._arrived.append((self._others if sequence.reply.begun else self._urgent, sequence, chunk))
        if self._asleep:
            self._wake()

    def post(self, action: Callable[[], None]) -> None:
        """Runs `action` on the sender's thread, before the next batch."""
        self._posted.append(action)
        if self._asleep:
            self._wake()

    @property
    def has_posted(self) -> bool:
        """Whether actions wait for this sender's thread."""
        return bool(self._posted)

    def send_batch(self) -> None:
        """Runs what was posted, then builds up to 16 responses, urgent ones first, and sends them.

        All are built before the first is sent: building is our code and sending the server's, and either is several
        times as fast when it runs repeatedly as when the two alternate.
        """
        self._batches += 1
        self.batch = self._batches
        try:
            self._send_batch()
        finally:
            self.batch = None

    def _send_batch(self) -> None:
        self.run_posted()
        built = []
        for _ in range(_BATCH):
            self._collect()
            pending = self._urgent or self._others
            if not (pending and self._budget.spend(through_server=pending.first().reply.through_server)):
                break
            built.append(self._add_to_reply(*pending.pop()))
        for reply in built:
            if reply is not None:
                self._flush(reply)

    def run_posted(self) -> None:
        """Runs what was posted. An action that fails is logged, because the other requests must go on."""
        while self._posted:
            try:
                self._posted.popleft()()
            except Exception:
                _log.exception("a request could not be answered")

    def run(self) -> None:
        """Sends batches until stopped; sleeps when there is nothing to do."""
        while not self._stopping:
            wait_s = self.wait_s()
            if wait_s is None:
                self._sleep()
            elif wait_s:
                time.sleep(wait_s)
            else:
                self.send_batch()

    def stop(self) -> None:
        """Ends `run`."""
        self._stopping = True
        self._wakes.put(None)

    def fail(self, reply: Reply, error: Exception) -> None:
        """Answers a reply with an error, unless it is answered already."""
        if reply in self.replies:
            self._fail(reply, error)

    def finish_cancelled(self, reply: Reply, finish: Callable[[int], bool]) -> None:
        """Ends a reply with finish «cancelled» and what was generated for it.

        `finish` asks the engine for the last chunk of a sequence of which it keeps tokens; False: it keeps none.
        """
        for sequence in self.replies.get(reply, ()):
            keeps = sequence.running and reply.requests[sequence.index].chunk_tokens != 1
            if not (keeps and finish(sequence.key)):
                self._add_to_reply(sequence, TokenChunk(finish="cancelled"))
        self._flush(reply)

    def drop(self, reply: Reply) -> bool:
        """Cancels a reply's sequences and sends nothing; False where it is answered already."""
        sequences = self.replies.pop(reply, None)
        for sequence in sequences or ():
            self._release(sequence)
        return sequences is not None

    def _add_to_reply(self, sequence: ReplySequence, chunk: TokenChunk) -> Reply | None:
        """The reply, if the chunk was added to it."""
        if not sequence.running:
            return None
        reply = sequence.reply
        if chunk.finish == "error":
            _log.error("the engine failed on a request: %s", chunk.error)
            self._fail(reply, EngineError(chunk.error))
            return None
        if chunk.finish == "refused":
            self._fail(reply, reply.numbered(sequence.index, InvalidRequest(chunk.error, GUIDED_DECODING_GUIDE)))
            return None
        try:
            done = reply.add_chunk(sequence.index, chunk)
        except Exception as error:  # one request's text must not end the others
            _log.exception("a request failed")
            self._fail(reply, error)
            return None
        if done:
            self._finish(sequence)
        return reply

    def _flush(self, reply: Reply) -> None:
        try:
            reply.flush()
        except Exception as error:  # one client's connection must not end the others
            _log.exception("a response could not be sent")
            self._fail(reply, error)

    def _finish(self, sequence: ReplySequence) -> None:
        self._release(sequence)
        if not any(other.running for other in self.replies.get(sequence.reply, ())):
            self.replies.pop(sequence.reply, None)

    def _fail(self, reply: Reply, error: Exception) -> None:
        self.drop(reply)
        try:
            reply.fail(error)
        except Exception:  # a client that cannot be told must not end the others
            _log.exception("a request could not be failed")

    def _release(self, sequence: ReplySequence) -> None:
        if sequence.running:
            sequence.running = False
            self._release_key(sequence.key)

    def _collect(self) -> None:
        arrived = self._arrived
        while arrived:
            pending, sequence, chunk = arrived.popleft()
            if chunk.finish is not None and pending is self._others:
                if (earlier := pending.take(sequence)) is not None:
                    chunk = merge_chunks(earlier, chunk)
                pending = self._urgent
            pending.add(sequence, chunk)

    def _wake(self) -> None:
        self._asleep = False
        self._wakes.put(None)

    def _sleep(self) -> None:
        """Sleeps until something is added. `_asleep` is set before the last look, so that no wake-up is missed."""
        self._asleep = True
        if self.wait_s() is None and not self._stopping:
            self._wakes.get()
        self._asleep = False
