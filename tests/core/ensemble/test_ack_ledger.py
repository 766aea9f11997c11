"""Ledger: a live call is never lost, however long and uneven the way to postprocessing; an abandoned one always is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.ensemble.ack_ledger import BEATS, CONFIRM, PATIENCE_NS, Ledger
from tests.support.ack_delays import MS, Server

LATE = PATIENCE_NS + 10 * MS
"""A moment at which what was sent at 0 has been under way long enough."""


def sent(ledger: Ledger, call: int, at_ns: int) -> None:
    ledger.sending(call, at_ns)
    ledger.sent(call, at_ns + MS)


def lost(ledger: Ledger, call: int, at_ns: int = LATE) -> bool:
    """The last of several questions, while every process goes on to have nothing to do."""
    ledger.lost(call, at_ns)
    for process in list(ledger._processes):
        beat(ledger, process, at_ns + MS, CONFIRM)
    return ledger.lost(call, at_ns)


def beat(ledger: Ledger, process: str, since_ns: int, times: int = BEATS) -> None:
    for n in range(times):
        ledger.heard(process, since_ns + n * 100 * MS, [])


@pytest.fixture
def ledger() -> Ledger:
    """One that has seen a chunk of kind «e», long ago, from process «p»."""
    made = Ledger()
    first = made.begin("e")
    sent(made, first, -500 * MS)
    made.heard("p", -400 * MS, [(first, -500 * MS)])
    made.end(first)
    return made


def test_a_chunk_that_was_overtaken_is_lost(ledger: Ledger) -> None:
    gone, other = ledger.begin("e"), ledger.begin("e")
    sent(ledger, gone, 0)
    sent(ledger, other, 2 * MS)
    assert not lost(ledger, gone)
    ledger.heard("p", LATE, [(other, 2 * MS)])
    assert lost(ledger, gone)
    assert not lost(ledger, other)


def test_of_chunks_that_were_sent_together_the_first_can_be_lost(ledger: Ledger) -> None:
    gone, other = ledger.begin("e"), ledger.begin("e")
    ledger.sending(gone, 0)
    ledger.sending(gone, MS)
    ledger.sent(gone, 2 * MS)
    sent(ledger, other, 3 * MS)
    ledger.heard("p", LATE, [(other, 3 * MS)])
    assert lost(ledger, gone)


@pytest.mark.parametrize("begun_ns", [0, MS])
def test_a_chunk_begun_before_the_other_was_sent_has_not_overtaken_it(ledger: Ledger, begun_ns: int) -> None:
    """Which of the two the server queued first is not known."""
    waits, other = ledger.begin("e"), ledger.begin("e")
    sent(ledger, waits, 0)
    sent(ledger, other, begun_ns)
    ledger.heard("p", LATE, [(other, begun_ns)])
    assert not lost(ledger, waits)


def test_a_chunk_still_being_sent_is_not_lost(ledger: Ledger) -> None:
    waits, other = ledger.begin("e"), ledger.begin("e")
    ledger.sending(waits, 0)
    sent(ledger, other, 2 * MS)
    ledger.heard("p", LATE, [(other, 2 * MS)])
    assert not lost(ledger, waits)


def test_a_chunk_that_an_idle_process_never_got_is_lost(ledger: Ledger) -> None:
    call = ledger.begin("e")
    sent(ledger, call, 0)
    beat(ledger, "p", 2 * MS, BEATS - 1)
    assert not ledger.lost(call, LATE)
    ledger.heard("p", LATE, [])
    assert lost(ledger, call)


def test_idleness_from_before_a_chunk_says_nothing(ledger: Ledger) -> None:
    """As after a pause: many reports are old, and only now they are read."""
    call = ledger.begin("e")
    beat(ledger, "p", -2000 * MS, 15)
    sent(ledger, call, 0)
    assert not lost(ledger, call)


def test_work_of_others_is_no_idleness(ledger: Ledger) -> None:
    """A process that had chunks of an engine model that is not known, between two spells of nothing to do."""
    call = ledger.begin("e")
    sent(ledger, call, 0)
    beat(ledger, "p", 2 * MS, BEATS - 1)
    ledger.heard("p", 950 * MS, [(0, 0)])
    assert not lost(ledger, call)


@pytest.mark.parametrize("second", ["idle", "behind", "departed"])
def test_every_process_must_be_past_it(ledger: Ledger, second: str) -> None:
    gone, other, early = (ledger.begin("e") for _ in range(3))
    sent(ledger, early, -10 * MS)
    sent(ledger, gone, 0)
    sent(ledger, other, 2 * MS)
    ledger.heard("q", 0, [(early, -10 * MS)])
    ledger.heard("p", LATE, [(other, 2 * MS)])
    assert not lost(ledger, gone)
    if second == "idle":
        beat(ledger, "q", 2 * MS)
    if second == "departed":
        ledger.departed("q")
    assert lost(ledger, gone) is (second != "behind")


def test_without_any_process_nothing_is_lost(ledger: Ledger) -> None:
    call = ledger.begin("e")
    sent(ledger, call, 0)
    ledger.departed("p")
    assert not lost(ledger, call)


def test_a_kind_that_postprocessing_never_saw_is_not_lost(ledger: Ledger) -> None:
    """A caller of the engine model itself: its chunks go elsewhere."""
    direct = ledger.begin("d")
    sent(ledger, direct, 0)
    beat(ledger, "p", 2 * MS)
    assert not lost(ledger, direct)


def test_a_loss_must_last(ledger: Ledger) -> None:
    """A chunk that comes after all, as from a server that was stopped, and a later one that is lost."""
    call = ledger.begin("e")
    sent(ledger, call, 0)
    beat(ledger, "p", 2 * MS)
    assert not ledger.lost(call, LATE)
    beat(ledger, "p", LATE + MS, CONFIRM - 1)
    assert not ledger.lost(call, 2 * LATE)
    ledger.heard("p", 2 * LATE, [(call, 0)])
    assert not ledger.lost(call, 2 * LATE)
    sent(ledger, call, 2 * LATE)
    beat(ledger, "p", 2 * LATE + 2 * MS)
    assert not ledger.lost(call, 3 * LATE)
    assert lost(ledger, call, 3 * LATE)


@pytest.mark.parametrize(("number", "begun_ns"), [(2, 2 * MS), (1 << 30, 2 * MS), (1, LATE + 1)])
def test_forged_receipts_move_nothing(ledger: Ledger, number: int, begun_ns: int) -> None:
    """Numbers that were never given, a moment to come."""
    call, other = ledger.begin("e"), ledger.begin("e")
    sent(ledger, call, 0)
    ledger.heard("p", LATE, [(call + number, begun_ns)])
    assert call + 1 == other
    assert not lost(ledger, call)


def test_a_call_that_ended_is_forgotten(ledger: Ledger) -> None:
    """Chunks of it still under way are receipts all the same: they overtake others'."""
    ended, gone = ledger.begin("e"), ledger.begin("e")
    sent(ledger, gone, 0)
    sent(ledger, ended, 2 * MS)
    ledger.end(ended)
    assert list(ledger._calls) == [gone]
    ledger.heard("p", LATE, [(ended, 2 * MS)])
    assert lost(ledger, gone)
    ledger.end(gone)
    assert not lost(ledger, gone)
    sent(ledger, gone, LATE)
    assert not ledger._calls


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_random_delays_lose_no_live_call_and_every_abandoned_one(seed: int) -> None:
    server = Server(random.Random(seed))
    for number in range(600):
        if number > 50 and server.draw.random() < 0.01:
            server.abandoned.add(server.draw.choice(list(server.calls)))
        server.step(number)
    server.calm = True
    for number in range(600, 1200):
        server.step(number)
    known = bool(server.ledger._kinds)
    assert {call for call, found in server.calls.items() if found} == (server.abandoned if known else set())
