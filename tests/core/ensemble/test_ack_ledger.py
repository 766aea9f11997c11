"""AckLedger: a live request is never abandoned, however long and uneven the way to postprocessing; a left one always is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qwen_triton.ensemble.ack_ledger import CONFIRMING_REPORTS, IDLE_REPORTS, MIN_UNACKED_NS, AckLedger
from tests.support.ack_delays import MS, Server

LATE = MIN_UNACKED_NS + 10 * MS
"""A moment at which what was sent at 0 has been under way long enough."""


def send(ledger: AckLedger, request: int, at_ns: int) -> None:
    ledger.on_send(request, at_ns)
    ledger.on_sent(request, at_ns + MS)


def abandoned(ledger: AckLedger, request: int, at_ns: int = LATE) -> bool:
    """The last of several questions, while every process goes on to have nothing to do."""
    ledger.is_abandoned(request, at_ns)
    for process in list(ledger._processes):
        report_idle(ledger, process, at_ns + MS, CONFIRMING_REPORTS)
    return ledger.is_abandoned(request, at_ns)


def report_idle(ledger: AckLedger, process: str, since_ns: int, times: int = IDLE_REPORTS) -> None:
    for n in range(times):
        ledger.on_report(process, since_ns + n * 100 * MS, [])


@pytest.fixture
def ledger() -> AckLedger:
    """One that has seen a chunk of kind «e», long ago, from process «p»."""
    made = AckLedger()
    first = made.begin("e")
    send(made, first, -500 * MS)
    made.on_report("p", -400 * MS, [(first, -500 * MS)])
    made.end(first)
    return made


def test_a_chunk_that_was_overtaken_is_lost(ledger: AckLedger) -> None:
    gone, other = ledger.begin("e"), ledger.begin("e")
    send(ledger, gone, 0)
    send(ledger, other, 2 * MS)
    assert not abandoned(ledger, gone)
    ledger.on_report("p", LATE, [(other, 2 * MS)])
    assert abandoned(ledger, gone)
    assert not abandoned(ledger, other)


def test_of_chunks_that_were_sent_together_the_first_can_be_lost(ledger: AckLedger) -> None:
    gone, other = ledger.begin("e"), ledger.begin("e")
    ledger.on_send(gone, 0)
    ledger.on_send(gone, MS)
    ledger.on_sent(gone, 2 * MS)
    send(ledger, other, 3 * MS)
    ledger.on_report("p", LATE, [(other, 3 * MS)])
    assert abandoned(ledger, gone)


@pytest.mark.parametrize("begun_ns", [0, MS])
def test_a_chunk_begun_before_the_other_was_sent_has_not_overtaken_it(ledger: AckLedger, begun_ns: int) -> None:
    """Which of the two the server queued first is not known."""
    waits, other = ledger.begin("e"), ledger.begin("e")
    send(ledger, waits, 0)
    send(ledger, other, begun_ns)
    ledger.on_report("p", LATE, [(other, begun_ns)])
    assert not abandoned(ledger, waits)


def test_a_chunk_still_being_sent_is_not_lost(ledger: AckLedger) -> None:
    waits, other = ledger.begin("e"), ledger.begin("e")
    ledger.on_send(waits, 0)
    send(ledger, other, 2 * MS)
    ledger.on_report("p", LATE, [(other, 2 * MS)])
    assert not abandoned(ledger, waits)


def test_a_chunk_that_an_idle_process_never_got_is_lost(ledger: AckLedger) -> None:
    request = ledger.begin("e")
    send(ledger, request, 0)
    report_idle(ledger, "p", 2 * MS, IDLE_REPORTS - 1)
    assert not ledger.is_abandoned(request, LATE)
    ledger.on_report("p", LATE, [])
    assert abandoned(ledger, request)


def test_idleness_from_before_a_chunk_says_nothing(ledger: AckLedger) -> None:
    """As after a pause: many reports are old, and only now they are read."""
    request = ledger.begin("e")
    report_idle(ledger, "p", -2000 * MS, 15)
    send(ledger, request, 0)
    assert not abandoned(ledger, request)


def test_work_of_others_is_no_idleness(ledger: AckLedger) -> None:
    """A process that had chunks of an engine model that is not known, between two spells of nothing to do."""
    request = ledger.begin("e")
    send(ledger, request, 0)
    report_idle(ledger, "p", 2 * MS, IDLE_REPORTS - 1)
    ledger.on_report("p", 950 * MS, [(0, 0)])
    assert not abandoned(ledger, request)


@pytest.mark.parametrize("second", ["idle", "behind", "departed"])
def test_every_process_must_be_past_it(ledger: AckLedger, second: str) -> None:
    gone, other, early = (ledger.begin("e") for _ in range(3))
    send(ledger, early, -10 * MS)
    send(ledger, gone, 0)
    send(ledger, other, 2 * MS)
    ledger.on_report("q", 0, [(early, -10 * MS)])
    ledger.on_report("p", LATE, [(other, 2 * MS)])
    assert not abandoned(ledger, gone)
    if second == "idle":
        report_idle(ledger, "q", 2 * MS)
    if second == "departed":
        ledger.on_disconnect("q")
    assert abandoned(ledger, gone) is (second != "behind")


def test_without_any_process_nothing_is_lost(ledger: AckLedger) -> None:
    request = ledger.begin("e")
    send(ledger, request, 0)
    ledger.on_disconnect("p")
    assert not abandoned(ledger, request)


def test_a_kind_that_postprocessing_never_saw_is_not_lost(ledger: AckLedger) -> None:
    """A caller of the engine model itself: its chunks go elsewhere."""
    direct = ledger.begin("d")
    send(ledger, direct, 0)
    report_idle(ledger, "p", 2 * MS)
    assert not abandoned(ledger, direct)


def test_a_loss_must_last(ledger: AckLedger) -> None:
    """A chunk that comes after all, as from a server that was stopped, and a later one that is lost."""
    request = ledger.begin("e")
    send(ledger, request, 0)
    report_idle(ledger, "p", 2 * MS)
    assert not ledger.is_abandoned(request, LATE)
    report_idle(ledger, "p", LATE + MS, CONFIRMING_REPORTS - 1)
    assert not ledger.is_abandoned(request, 2 * LATE)
    ledger.on_report("p", 2 * LATE, [(request, 0)])
    assert not ledger.is_abandoned(request, 2 * LATE)
    send(ledger, request, 2 * LATE)
    report_idle(ledger, "p", 2 * LATE + 2 * MS)
    assert not ledger.is_abandoned(request, 3 * LATE)
    assert abandoned(ledger, request, 3 * LATE)


@pytest.mark.parametrize(("number", "begun_ns"), [(2, 2 * MS), (1 << 30, 2 * MS), (1, LATE + 1)])
def test_forged_acks_move_nothing(ledger: AckLedger, number: int, begun_ns: int) -> None:
    """Numbers that were never given, a moment to come."""
    request, other = ledger.begin("e"), ledger.begin("e")
    send(ledger, request, 0)
    ledger.on_report("p", LATE, [(request + number, begun_ns)])
    assert request + 1 == other
    assert not abandoned(ledger, request)


def test_a_request_that_ended_is_forgotten(ledger: AckLedger) -> None:
    """Chunks of it still under way are acknowledged all the same: they overtake others'."""
    ended, gone = ledger.begin("e"), ledger.begin("e")
    send(ledger, gone, 0)
    send(ledger, ended, 2 * MS)
    ledger.end(ended)
    assert list(ledger._requests) == [gone]
    ledger.on_report("p", LATE, [(ended, 2 * MS)])
    assert abandoned(ledger, gone)
    ledger.end(gone)
    assert not abandoned(ledger, gone)
    send(ledger, gone, LATE)
    assert not ledger._requests


def test_a_later_chunk_of_another_load_has_overtaken_it_too(ledger: AckLedger) -> None:
    """As while the model is reloaded: the queue of postprocessing is one. A moment to come is forged."""
    gone = ledger.begin("e")
    send(ledger, gone, 0)
    ledger.on_report("p", LATE, [(0, 0)], LATE + 1)
    ledger.on_report("p", LATE, [(0, 0)], MS)
    assert not ledger.is_abandoned(gone, LATE)
    ledger.on_report("p", LATE, [(0, 0)], 2 * MS)
    assert abandoned(ledger, gone)


def test_processes_of_another_postprocessing_model_say_nothing(ledger: AckLedger) -> None:
    """Two ensembles of a server: one that is never idle neither keeps the other's requests, nor loses them."""
    ledger.on_connect("q", "other")
    begun, fresh, gone = (ledger.begin("e") for _ in range(3))
    send(ledger, begun, -300 * MS)
    ledger.on_report("q", -200 * MS, [(begun, -300 * MS)])
    for request in (begun, fresh, gone):
        send(ledger, request, 0)
    report_idle(ledger, "p", 2 * MS)
    ledger.on_report("q", LATE, [(0, 0)])
    assert not abandoned(ledger, begun)
    assert not abandoned(ledger, fresh)
    ledger.on_report("p", LATE, [(gone, 0)])
    send(ledger, gone, 3 * MS)
    report_idle(ledger, "p", 5 * MS)
    ledger.on_report("q", LATE, [(0, 0)])
    for _ in range(CONFIRMING_REPORTS):
        ledger.is_abandoned(gone, 2 * LATE)
        ledger.on_report("p", 3 * LATE, [])
        ledger.on_report("q", 3 * LATE, [(0, 0)])
    assert ledger.is_abandoned(gone, 3 * LATE)
    assert not ledger.is_abandoned(begun, 3 * LATE)
    assert not ledger.is_abandoned(fresh, 3 * LATE)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32))
def test_random_delays_lose_no_live_request_and_every_abandoned_one(seed: int) -> None:
    server = Server(random.Random(seed))
    for number in range(600):
        if number > 50 and server.draw.random() < 0.01:
            server.abandoned.add(server.draw.choice(list(server.requests)))
        server.step(number)
    server.calm = True
    for number in range(600, 1200):
        server.step(number)
    known = bool(server.ledger._acked_kinds)
    assert {request for request, found in server.requests.items() if found} == (server.abandoned if known else set())
