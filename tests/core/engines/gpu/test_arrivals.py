"""Arrivals: sequences begin in groups, none waits longer than the pause, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qwen_triton.engines.gpu.arrivals import Arrivals


def test_the_first_waits_for_nothing_and_the_next_ones_begin_together() -> None:
    arrivals: Arrivals[str] = Arrivals(0.02, 1000)
    assert arrivals.wait_s(5.0) is None
    arrivals.add("a", "A", 10)
    assert (arrivals.wait_s(5.0), arrivals.due(5.0)) == (0.0, ["A"])
    arrivals.add("b", "B", 10)
    arrivals.add("c", "C", 10)
    assert arrivals.wait_s(5.005) == pytest.approx(0.015)
    assert (arrivals.due(5.005), arrivals.due(5.02), arrivals.due(5.02)) == ([], ["B", "C"], [])


def test_a_group_that_fills_a_step_is_due() -> None:
    arrivals: Arrivals[str] = Arrivals(60.0, 1000)
    arrivals.add("a", "A", 1)
    arrivals.due(5.0)
    arrivals.add("b", "B", 400)
    arrivals.add("c", "C", 500)
    assert arrivals.due(5.0) == []
    arrivals.add("d", "D", 100)
    assert arrivals.due(5.0) == ["B", "C", "D"]
    arrivals.add("e", "E", 999)
    assert arrivals.due(5.0) == []


def test_what_is_taken_back_is_not_handed_on() -> None:
    """Nor does it count for a full step; what was handed on cannot be taken back."""
    arrivals: Arrivals[str] = Arrivals(60.0, 100)
    arrivals.add("a", "A", 1)
    assert arrivals.due(5.0) == ["A"]
    arrivals.add("b", "B", 60)
    arrivals.add("c", "C", 60)
    assert (arrivals.take_back("b"), arrivals.take_back("b"), arrivals.take_back("a")) == (True, False, False)
    assert arrivals.due(5.0) == []
    assert arrivals.due(65.0) == ["C"]


def test_without_a_pause_each_is_due_at_once() -> None:
    arrivals: Arrivals[str] = Arrivals(0.0, 1000)
    for name in "abc":
        arrivals.add(name, name, 1)
        assert arrivals.due(5.0) == [name]


@given(st.lists(st.tuples(st.floats(0, 0.1), st.integers(1, 600)), max_size=40), st.floats(0, 0.1))
def test_all_are_handed_on_in_order_and_in_time(steps: list[tuple[float, int]], pause_s: float) -> None:
    """An owner that comes back when `wait_s` says so hands each on at most one pause after it came."""
    arrivals: Arrivals[int] = Arrivals(pause_s, 1000)
    now, came, handed = 0.0, [], []
    for number, (gap_s, tokens) in enumerate(steps):
        until = now + gap_s
        while (wait_s := arrivals.wait_s(now)) is not None and now + wait_s <= until:
            now += wait_s
            handed += [(one, now) for one in arrivals.due(now)]
        now = until
        arrivals.add(str(number), number, tokens)
        came.append(now)
    while (wait_s := arrivals.wait_s(now)) is not None:
        now += wait_s
        handed += [(one, now) for one in arrivals.due(now)]
    assert [one for one, _ in handed] == list(range(len(steps)))
    assert all(at - came[one] <= pause_s + 1e-9 for one, at in handed)
