"""A sender: what several threads give it comes out on one, in order, merged while it waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from qwen_triton.serving.send_rate import SendBudget, SendRate
from qwen_triton.serving.sender import Sender
from qwen_triton.types import TokenChunk
from tests.core.serving.test_send_rate import Machine

WAIT_S = 20.0


class Delivered:
    """What a sender hands on, and the threads it did so on. `hold` keeps the sender's thread from going on."""

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

    @staticmethod
    def flush(call: object) -> None:
        raise AssertionError(f"{call}: nothing was written")


@pytest.fixture
def delivered() -> Delivered:
    return Delivered()


@pytest.fixture
def sender(delivered: Delivered) -> Iterator[Sender[object]]:
    sender: Sender[object] = Sender(delivered, Delivered.flush, SendBudget(SendRate(), 1))
    thread = threading.Thread(target=sender.run)
    thread.start()
    yield sender
    sender.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_nothing_is_lost_or_reordered_however_often_the_lane_falls_asleep(
    sender: Sender[object], delivered: Delivered
) -> None:
    """Five givers, each with keys of its own; the sender keeps up, so that it sleeps again and again."""
    delivered.wanted = 5

    def give(key: int) -> None:
        for token in range(2000):
            sender.add_chunk(key, [token], None)
        sender.add_chunk(key, [], {"finish": "length"})

    givers = [threading.Thread(target=give, args=(key,)) for key in range(5)]
    for giver in givers:
        giver.start()
    assert delivered.all_done.wait(WAIT_S)
    assert delivered.ids == {key: list(range(2000)) for key in range(5)}
    assert len(delivered.threads) == 1


def test_what_arrives_while_the_lane_sends_goes_out_as_one_piece(sender: Sender[object], delivered: Delivered) -> None:
    delivered.hold.clear()
    sender.add_chunk(1, [0], None)
    for token in range(1, 50):
        sender.add_chunk(2, [token], None)
    sender.add_chunk(2, [], {"finish": "stop"})
    delivered.hold.set()
    assert delivered.all_done.wait(WAIT_S)
    assert delivered.ids == {1: [0], 2: list(range(1, 50))}
    assert delivered.pieces == 2


def test_first_words_go_before_what_waits_and_an_answer_keeps_its_order() -> None:
    """Call 3 is begun between its chunks: its end, given as that of a begun one, must not overtake its beginning."""
    order: list[tuple[int, list[int], str | None]] = []

    def note(key: int, chunk: TokenChunk) -> None:
        order.append((key, list(chunk.token_ids), chunk.finish))

    sender: Sender[object] = Sender(note, Delivered.flush, SendBudget(SendRate(), 1))
    sender.add_chunk(1, [10], None)
    sender.add_chunk(2, [20], None)
    sender.add_chunk(3, [30], None, begun=False)
    sender.add_chunk(3, [31], {"finish": "stop"}, begun=True)
    sender.add_chunk(4, [40], None, begun=False)
    sender.send_batch()
    assert order == [(3, [30], None), (4, [40], None), (1, [10], None), (2, [20], None), (3, [31], "stop")]


def test_what_a_turn_made_is_sent_when_all_of_it_is_made() -> None:
    done: list[str] = []

    def feed(key: int, _: TokenChunk) -> str | None:
        done.append(f"feed {key}")
        return f"call {key}" if key != 2 else None

    sender: Sender[str] = Sender(feed, lambda call: done.append(f"flush {call}"), SendBudget(SendRate(), 1))
    for key in (1, 2, 3):
        sender.add_chunk(key, [key], None)
    sender.send_batch()
    assert done == ["feed 1", "feed 2", "feed 3", "flush call 1", "flush call 3"]


def test_an_action_that_fails_is_logged_and_the_lane_goes_on(
    sender: Sender[object], delivered: Delivered, caplog: pytest.LogCaptureFixture
) -> None:
    sender.post(lambda: [].pop())
    sender.add_chunk(1, [7], {"finish": "stop"})
    assert delivered.all_done.wait(WAIT_S)
    assert "a caller could not be answered" in caplog.text


def test_a_lane_that_sleeps_can_be_stopped(delivered: Delivered) -> None:
    sender: Sender[object] = Sender(delivered, Delivered.flush, SendBudget(SendRate(), 1))
    thread = threading.Thread(target=sender.run)
    thread.start()
    sender.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_pieces_beyond_the_allowance_wait_and_merge(delivered: Delivered) -> None:
    """A thousand tokens of forty sequences while the budget is 32 pieces: everything comes, in few pieces more."""
    delivered.wanted = 40
    sender: Sender[object] = Sender(
        delivered, Delivered.flush, SendBudget(SendRate(Machine(1)), 60)
    )  # 4000 / 60: one piece in 15 ms
    for token in range(25):
        for key in range(40):
            sender.add_chunk(key, [token], {"finish": "length"} if token == 24 else None)
    sender.send_batch()
    sender.send_batch()
    sender.send_batch()
    assert 32 <= delivered.pieces < 40
    thread = threading.Thread(target=sender.run)
    thread.start()
    assert delivered.all_done.wait(WAIT_S)
    sender.stop()
    thread.join(WAIT_S)
    assert delivered.ids == {key: list(range(25)) for key in range(40)}
    assert delivered.pieces == 40


def test_what_is_posted_does_not_wait_for_the_allowance(delivered: Delivered) -> None:
    sender: Sender[object] = Sender(delivered, Delivered.flush, SendBudget(SendRate(Machine(1)), 60))
    for key in range(40):
        sender.add_chunk(key, [1], None)
    sender.send_batch()
    sender.send_batch()
    sender.send_batch()
    done: list[int] = []
    sender.post(lambda: done.append(1))
    assert sender.wait_s() == 0.0
    sender.send_batch()
    assert done == [1]
