"""A lane: what several threads give it comes out on one, in order, merged while it waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from qwen_triton.serving.send_rate import Allowance, Pace
from qwen_triton.serving.sender import Lane
from qwen_triton.types import TokenChunk
from tests.core.serving.test_send_rate import Machine

WAIT_S = 20.0


class Delivered:
    """What a lane hands on, and the threads it did so on. `hold` keeps the lane's thread from going on."""

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
def lane(delivered: Delivered) -> Iterator[Lane[object]]:
    lane: Lane[object] = Lane(delivered, Delivered.flush, Allowance(Pace(), 1))
    thread = threading.Thread(target=lane.run)
    thread.start()
    yield lane
    lane.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_nothing_is_lost_or_reordered_however_often_the_lane_falls_asleep(
    lane: Lane[object], delivered: Delivered
) -> None:
    """Five givers, each with keys of its own; the lane keeps up, so that it sleeps again and again."""
    delivered.wanted = 5

    def give(key: int) -> None:
        for token in range(2000):
            lane.give(key, [token], None)
        lane.give(key, [], {"finish": "length"})

    givers = [threading.Thread(target=give, args=(key,)) for key in range(5)]
    for giver in givers:
        giver.start()
    assert delivered.all_done.wait(WAIT_S)
    assert delivered.ids == {key: list(range(2000)) for key in range(5)}
    assert len(delivered.threads) == 1


def test_what_arrives_while_the_lane_sends_goes_out_as_one_piece(lane: Lane[object], delivered: Delivered) -> None:
    delivered.hold.clear()
    lane.give(1, [0], None)
    for token in range(1, 50):
        lane.give(2, [token], None)
    lane.give(2, [], {"finish": "stop"})
    delivered.hold.set()
    assert delivered.all_done.wait(WAIT_S)
    assert delivered.ids == {1: [0], 2: list(range(1, 50))}
    assert delivered.pieces == 2


def test_first_words_go_before_what_waits_and_an_answer_keeps_its_order() -> None:
    """Call 3 is begun between its chunks: its end, given as that of a begun one, must not overtake its beginning."""
    order: list[tuple[int, list[int], str | None]] = []

    def note(key: int, chunk: TokenChunk) -> None:
        order.append((key, list(chunk.token_ids), chunk.finish))

    lane: Lane[object] = Lane(note, Delivered.flush, Allowance(Pace(), 1))
    lane.give(1, [10], None)
    lane.give(2, [20], None)
    lane.give(3, [30], None, begun=False)
    lane.give(3, [31], {"finish": "stop"}, begun=True)
    lane.give(4, [40], None, begun=False)
    lane.turn()
    assert order == [(3, [30], None), (4, [40], None), (1, [10], None), (2, [20], None), (3, [31], "stop")]


def test_what_a_turn_made_is_sent_when_all_of_it_is_made() -> None:
    done: list[str] = []

    def feed(key: int, _: TokenChunk) -> str | None:
        done.append(f"feed {key}")
        return f"call {key}" if key != 2 else None

    lane: Lane[str] = Lane(feed, lambda call: done.append(f"flush {call}"), Allowance(Pace(), 1))
    for key in (1, 2, 3):
        lane.give(key, [key], None)
    lane.turn()
    assert done == ["feed 1", "feed 2", "feed 3", "flush call 1", "flush call 3"]


def test_an_action_that_fails_is_logged_and_the_lane_goes_on(
    lane: Lane[object], delivered: Delivered, caplog: pytest.LogCaptureFixture
) -> None:
    lane.post(lambda: [].pop())
    lane.give(1, [7], {"finish": "stop"})
    assert delivered.all_done.wait(WAIT_S)
    assert "a caller could not be answered" in caplog.text


def test_a_lane_that_sleeps_can_be_stopped(delivered: Delivered) -> None:
    lane: Lane[object] = Lane(delivered, Delivered.flush, Allowance(Pace(), 1))
    thread = threading.Thread(target=lane.run)
    thread.start()
    lane.stop()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_pieces_beyond_the_allowance_wait_and_merge(delivered: Delivered) -> None:
    """A thousand tokens of forty sequences while the allowance is 32 pieces: everything comes, in few pieces more."""
    delivered.wanted = 40
    lane: Lane[object] = Lane(
        delivered, Delivered.flush, Allowance(Pace(Machine(1)), 60)
    )  # 4000 / 60: one piece in 15 ms
    for token in range(25):
        for key in range(40):
            lane.give(key, [token], {"finish": "length"} if token == 24 else None)
    lane.turn()
    lane.turn()
    lane.turn()
    assert 32 <= delivered.pieces < 40
    thread = threading.Thread(target=lane.run)
    thread.start()
    assert delivered.all_done.wait(WAIT_S)
    lane.stop()
    thread.join(WAIT_S)
    assert delivered.ids == {key: list(range(25)) for key in range(40)}
    assert delivered.pieces == 40


def test_what_is_posted_does_not_wait_for_the_allowance(delivered: Delivered) -> None:
    lane: Lane[object] = Lane(delivered, Delivered.flush, Allowance(Pace(Machine(1)), 60))
    for key in range(40):
        lane.give(key, [1], None)
    lane.turn()
    lane.turn()
    lane.turn()
    done: list[int] = []
    lane.post(lambda: done.append(1))
    assert lane.wait_s() == 0.0
    lane.turn()
    assert done == [1]
