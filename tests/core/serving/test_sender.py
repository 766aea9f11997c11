"""Sender: what several threads add comes out on one, in order, merged while it waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from qwen_triton.serving import send_rate
from qwen_triton.serving.reply import Reply, RowPlan
from qwen_triton.serving.request_metrics import RequestMetrics
from qwen_triton.serving.send_rate import SendBudget, SendRate
from qwen_triton.serving.sender import ReplySequence, Sender
from qwen_triton.types import EngineRequest, SamplingParams, TokenChunk
from tests.core.serving.test_send_rate import FakeProcessors
from tests.support.live.waiting import becomes

WAIT_S = 20.0
REQUEST = EngineRequest((1,), SamplingParams(max_tokens=9, seed=1))


class Delivered:
    """Chunks that a sender added to its replies, and the threads it did so on. `hold` keeps its thread from going on."""

    def __init__(self) -> None:
        self.ids: dict[int, list[int]] = {}
        self.pieces = 0
        self.finished: set[int] = set()
        self.threads: set[int] = set()
        self.hold = threading.Event()
        self.hold.set()
        self.all_done = threading.Event()
        self.wanted = 1

    def __call__(self, key: int, chunk: TokenChunk) -> None:
        assert self.hold.wait(WAIT_S)
        self.threads.add(threading.get_ident())
        self.ids.setdefault(key, []).extend(chunk.token_ids)
        self.pieces += 1
        if chunk.finish:
            self.finished.add(key)
        if len(self.finished) == self.wanted:
            self.all_done.set()


class SilentResponder:
    """A Responder to nobody."""

    request_id = ""

    def write(self, arrays: object, *, final: bool) -> None:  # noqa: ARG002  as Responder has it
        raise AssertionError("there is no text")

    def flush(self) -> None: ...

    def fail(self, error: Exception) -> None: ...

    def gone(self) -> bool:
        return False


class RecordedStream:
    """A Stream without text that hands its chunks on."""

    def __init__(self, on_chunk: Callable[[TokenChunk], None]) -> None:
        self._on_chunk = on_chunk
        self.done = False

    def feed(self, chunk: TokenChunk) -> None:
        self._on_chunk(chunk)
        self.done = chunk.finish is not None


class RecordedReply(Reply):
    """A reply of one sequence; `on_chunk` gets the key and each chunk."""

    def __init__(self, key: int, on_chunk: Callable[[int, TokenChunk], None]) -> None:
        stream = RecordedStream(lambda chunk: on_chunk(key, chunk))
        encoder: Any = type("OneStream", (), {"open": lambda *_: stream})()
        plan = RowPlan([REQUEST], streamed=True, keep=1)
        super().__init__(SilentResponder(), [plan], encoder, RequestMetrics().start(), at_once=False)


def make_sender(rate: SendRate | None = None, senders: int = 1) -> Sender:
    return Sender(SendBudget(rate or SendRate(), lambda: 1 / senders), lambda _: None)


def add_replies(sender: Sender, on_chunk: Callable[[int, TokenChunk], None], count: int) -> list[ReplySequence]:
    """So many replies of a sequence each, with the keys 0, 1, 2 …"""
    return [sender.add_reply(RecordedReply(key, on_chunk), [key])[0] for key in range(count)]


@pytest.fixture
def delivered() -> Delivered:
    return Delivered()


@pytest.fixture
def sender() -> Iterator[Sender]:
    sender = make_sender()
    thread = threading.Thread(target=sender.run)
    thread.start()
    yield sender
    sender.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_nothing_is_lost_or_reordered_however_often_the_sender_falls_asleep(
    sender: Sender, delivered: Delivered
) -> None:
    """Five threads, each with a sequence of its own; the sender keeps up, so that it sleeps again and again."""
    delivered.wanted = 5

    def add(sequence: ReplySequence) -> None:
        for token in range(2000):
            sender.add_chunk(sequence, TokenChunk([token]))
        sender.add_chunk(sequence, TokenChunk([], finish="length"))

    threads = [threading.Thread(target=add, args=(s,)) for s in add_replies(sender, delivered, 5)]
    for thread in threads:
        thread.start()
    assert delivered.all_done.wait(WAIT_S)
    assert delivered.ids == {key: list(range(2000)) for key in range(5)}
    assert len(delivered.threads) == 1


def test_what_arrives_while_the_sender_sends_goes_out_as_one_piece(sender: Sender, delivered: Delivered) -> None:
    _, first, second = add_replies(sender, delivered, 3)
    delivered.hold.clear()
    sender.add_chunk(first, TokenChunk([0]))
    for token in range(1, 50):
        sender.add_chunk(second, TokenChunk([token]))
    sender.add_chunk(second, TokenChunk([], finish="stop"))
    delivered.hold.set()
    assert delivered.all_done.wait(WAIT_S)
    assert delivered.ids == {1: [0], 2: list(range(1, 50))}
    assert delivered.pieces == 2


def test_first_chunks_go_before_what_waits_and_a_reply_keeps_its_order() -> None:
    """Reply 3 begins between its chunks: its end, added as that of a begun one, goes with its beginning and not before it."""
    order: list[tuple[int, list[int], str | None]] = []

    def note(key: int, chunk: TokenChunk) -> None:
        order.append((key, list(chunk.token_ids), chunk.finish))

    sender = make_sender()
    _, *sequences = add_replies(sender, note, 5)
    for sequence in sequences[:2]:
        sequence.reply.begun = True
        sender.add_chunk(sequence, TokenChunk([10 * sequence.key]))
    sender.add_chunk(sequences[2], TokenChunk([30]))
    sequences[2].reply.begun = True
    sender.add_chunk(sequences[2], TokenChunk([31], finish="stop"))
    sender.add_chunk(sequences[3], TokenChunk([40]))
    sender.send_batch()
    assert order == [(3, [30, 31], "stop"), (4, [40], None), (1, [10], None), (2, [20], None)]


def test_a_last_chunk_goes_before_what_waits_with_all_that_waits_of_its_sequence() -> None:
    """Its client asks again once it has the end, and its place in the engine's batch is empty until then."""
    order: list[tuple[int, list[int], str | None]] = []

    def note(key: int, chunk: TokenChunk) -> None:
        order.append((key, list(chunk.token_ids), chunk.finish))

    sender = make_sender()
    sequences = add_replies(sender, note, 40)
    for sequence in sequences:
        sequence.reply.begun = True
        sender.add_chunk(sequence, TokenChunk([sequence.key]))
    for key in (30, 20):
        sender.add_chunk(sequences[key], TokenChunk([100]))
        sender.add_chunk(sequences[key], TokenChunk([200], finish="length"))
    sender.add_chunk(sequences[10], TokenChunk([], finish="stop"))
    sender.send_batch()
    assert order[:3] == [(30, [30, 100, 200], "length"), (20, [20, 100, 200], "length"), (10, [10], "stop")]
    assert order[3:6] == [(0, [0], None), (1, [1], None), (2, [2], None)]


def test_what_a_batch_built_is_sent_when_all_of_it_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reply 2 was answered before its chunk came."""
    done: list[str] = []
    sender = make_sender()
    _, *sequences = add_replies(sender, lambda key, _: done.append(f"add {key}"), 4)
    for sequence in sequences:
        monkeypatch.setattr(sequence.reply, "flush", lambda key=sequence.key: done.append(f"flush {key}"))
        sender.add_chunk(sequence, TokenChunk([sequence.key]))
    sender.drop(sequences[1].reply)
    sender.send_batch()
    assert done == ["add 1", "add 3", "flush 1", "flush 3"]


def test_a_sequence_is_released_once_and_its_reply_with_the_last_one() -> None:
    """Whether it ends, is dropped or fails; what still arrives for it is ignored."""
    released: list[int] = []
    sender = Sender(SendBudget(SendRate(), lambda: 1.0), released.append)
    encoder: Any = type("Streams", (), {"open": lambda *_: RecordedStream(lambda _: None)})()
    metrics = RequestMetrics()
    plan = RowPlan([REQUEST] * 2, streamed=True, keep=2)
    reply = Reply(SilentResponder(), [plan], encoder, metrics.start(), at_once=False)
    first, second = sender.add_reply(reply, [7, 8])
    sender.add_chunk(first, TokenChunk([1], finish="length"))
    sender.send_batch()
    assert (released, list(sender.replies)) == ([7], [reply])
    sender.add_chunk(second, TokenChunk([1], finish="length"))
    sender.add_chunk(first, TokenChunk([2]))
    sender.send_batch()
    assert (released, list(sender.replies)) == ([7, 8], [])
    assert not sender.drop(reply)
    sender.fail(reply, RuntimeError("late"))
    assert (released, metrics.finished) == ([7, 8], {})


def test_an_action_that_fails_is_logged_and_the_sender_goes_on(
    sender: Sender, delivered: Delivered, caplog: pytest.LogCaptureFixture
) -> None:
    sender.post(lambda: [].pop())
    sender.add_chunk(add_replies(sender, delivered, 1)[0], TokenChunk([7], finish="stop"))
    assert delivered.all_done.wait(WAIT_S)
    assert "a request could not be answered" in caplog.text


def test_a_sender_that_sleeps_can_be_stopped() -> None:
    sender = make_sender()
    thread = threading.Thread(target=sender.run)
    thread.start()
    sender.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_pieces_beyond_the_budget_wait_and_merge(delivered: Delivered, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand tokens of forty sequences while the budget is 32 pieces: everything comes, in as many pieces as sequences."""
    delivered.wanted = 40
    with monkeypatch.context() as stopped:
        stopped.setattr(send_rate.time, "monotonic", lambda: 50.0)
        sender = make_sender(SendRate(FakeProcessors(1)))
        sequences = add_replies(sender, delivered, 40)
        for token in range(25):
            for sequence in sequences:
                sequence.reply.begun = True
                sender.add_chunk(sequence, TokenChunk([token], finish="length" if token == 24 else None))
        for _ in range(3):
            sender.send_batch()
    assert delivered.pieces == 32
    thread = threading.Thread(target=sender.run)
    thread.start()
    assert delivered.all_done.wait(WAIT_S)
    sender.stop()
    thread.join(WAIT_S)
    assert delivered.ids == {key: list(range(25)) for key in range(40)}
    assert delivered.pieces == 40


def test_a_sender_says_which_batch_it_is_sending(sender: Sender, delivered: Delivered) -> None:
    """The same for as long as the server does not take it, another one afterwards, and none while there is nothing to send."""
    delivered.wanted = 2
    first, second = add_replies(sender, delivered, 2)
    assert sender.batch is None
    delivered.hold.clear()
    sender.add_chunk(first, TokenChunk([1], finish="length"))
    assert becomes(lambda: sender.batch is not None, WAIT_S)
    held = sender.batch
    sender.add_chunk(second, TokenChunk([1], finish="length"))
    time.sleep(0.05)
    assert sender.batch == held
    delivered.hold.set()
    assert delivered.all_done.wait(WAIT_S)
    assert becomes(lambda: sender.batch is None, WAIT_S)


def test_what_is_posted_does_not_wait_for_the_budget(delivered: Delivered) -> None:
    sender = make_sender(SendRate(FakeProcessors(1)), 60)
    for sequence in add_replies(sender, delivered, 40):
        sender.add_chunk(sequence, TokenChunk([1]))
    sender.send_batch()
    sender.send_batch()
    sender.send_batch()
    done: list[int] = []
    sender.post(lambda: done.append(1))
    assert sender.wait_s() == 0.0
    sender.send_batch()
    assert done == [1]
