"""Deadlines: sequences without a slot by their queue timeout are found in order, those that have begun are forgotten."""

from __future__ import annotations

import time

from qwen_triton.engines.process.deadlines import Deadlines


def test_deadlines_pass_in_order_and_only_for_what_still_waits() -> None:
    waiting = {1, 2, 3, 4}
    deadlines = Deadlines(waiting.__contains__)
    assert deadlines.wait_s() is None
    for key, within_s in ((1, 0.03), (2, 0.01), (3, 0.02), (4, 60.0)):
        deadlines.add(key, within_s)
    assert 0 < (deadlines.wait_s() or 0) <= 0.01
    waiting.discard(3)
    time.sleep(0.04)
    assert list(deadlines.passed()) == [2, 1]
    assert list(deadlines.passed()) == []
    assert 50 < (deadlines.wait_s() or 0) <= 60
    waiting.clear()
    assert deadlines.wait_s() is None


def test_deadlines_of_what_has_begun_do_not_pile_up() -> None:
    """A hundred thousand requests with an hour each, of which ten wait at a time."""
    waiting: set[int] = set()
    deadlines = Deadlines(waiting.__contains__)
    for key in range(100_000):
        waiting.add(key)
        waiting.discard(key - 10)
        deadlines.add(key, 3600.0)
    assert len(deadlines._heap) <= 256
