"""The mean batch, and how long places in it stay empty."""

from __future__ import annotations

import pytest

from qwen_triton.engines.process.batch_meter import LATE_S, BatchMeter


def test_a_place_is_empty_from_an_end_to_the_first_token_of_the_next() -> None:
    """The place that has been empty longest is taken first; later tokens of a sequence take none."""
    meter = BatchMeter()
    for key in (1, 2):
        meter.add(key)
        meter.begins(key, 10.0)
    meter.advance(2)
    meter.end(1, 11.0)
    meter.end(2, 11.5)
    for key in (3, 4):
        meter.add(key)
    meter.begins(3, 11.25)
    meter.begins(3, 11.30)
    meter.advance(1)
    meter.begins(4, 12.0)
    meter.advance(2)
    assert meter.counters() == {"batched": 5, "successors": 2, "successor_s": pytest.approx(0.25 + 0.5)}


def test_the_first_sequences_and_those_after_a_pause_are_no_successors() -> None:
    meter = BatchMeter()
    for key, now in ((1, 0.0), (2, LATE_S + 2.0)):
        meter.add(key)
        meter.begins(key, now)
        meter.end(key, now + 1.0)
    assert meter.successors == 0
    meter.add(3)
    meter.begins(3, 2 * LATE_S + 2.5)
    assert (meter.successors, meter.successor_s) == (1, pytest.approx(LATE_S - 0.5))


def test_a_sequence_that_was_cancelled_before_it_began_leaves_no_place() -> None:
    meter = BatchMeter()
    meter.add(1)
    meter.end(1, 1.0)
    meter.add(2)
    meter.begins(2, 2.0)
    assert meter.successors == 0
    assert not meter.new
