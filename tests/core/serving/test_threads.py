"""Pool of prompts: order of arrival, long ones that hold nobody up, faults that end no thread, an end that loses nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator

import pytest

from qwen_triton.serving.threads import PromptPool, prompt_threads
from tests.support.live.waiting import becomes

WAIT_S = 10.0
SHORT, LONG = 5_000, 400_000


@pytest.fixture
def pool_of() -> Iterator[Callable[[int], PromptPool]]:
    """Pools that run; what still waits at a test's end is run then."""
    opened: list[PromptPool] = []

    def build(threads: int) -> PromptPool:
        opened.append(PromptPool(threads))
        opened[-1].start()
        return opened[-1]

    yield build
    for pool in opened:
        pool.stop()


@pytest.mark.parametrize("threads", [2, 4])
def test_short_prompts_pass_long_ones_that_take_all_other_threads(
    pool_of: Callable[[int], PromptPool], threads: int
) -> None:
    """Ten long ones wait behind those under way; nine short ones come last, and are made first, in order."""
    pool, made, go, begun = pool_of(threads), [], threading.Event(), threading.Semaphore(0)

    def long(number: int) -> None:
        begun.release()
        go.wait(WAIT_S)
        made.append(number)

    for number in range(10):
        pool.submit(LONG, lambda number=number: long(number))  # type: ignore[misc]
    for _ in range(threads - 1):
        assert begun.acquire(timeout=WAIT_S)
    for number in range(100, 109):
        pool.submit(SHORT, lambda number=number: made.append(number))  # type: ignore[misc]
    assert becomes(lambda: made == [*range(100, 109)], WAIT_S)
    assert not pool.idle
    go.set()
    assert becomes(lambda: pool.idle, WAIT_S)
    assert sorted(made[9:]) == list(range(10))


def test_a_long_prompt_is_not_passed_for_ever() -> None:
    """A thread that takes both goes by arrival, however many short ones there are."""
    pool, made = PromptPool(2), []
    for name, size in (("a", SHORT), ("long", LONG), ("b", SHORT), ("c", SHORT)):
        pool.submit(size, lambda name=name: made.append(name))  # type: ignore[misc]
    for takes_long in (True, False, True, True):
        pool._next(takes_long)()
    assert made == ["a", "b", "long", "c"]


def test_one_thread_takes_all_in_order(pool_of: Callable[[int], PromptPool]) -> None:
    pool, made = pool_of(1), []
    for number in range(6):
        pool.submit(LONG if number % 2 else SHORT, lambda number=number: made.append(number))  # type: ignore[misc]
    assert becomes(lambda: made == [*range(6)], WAIT_S)


def test_a_job_that_fails_is_logged_and_the_next_one_runs(
    pool_of: Callable[[int], PromptPool], caplog: pytest.LogCaptureFixture
) -> None:
    pool, made = pool_of(1), []

    def failing() -> None:
        raise RuntimeError("nobody expected it")

    with caplog.at_level(logging.ERROR):
        pool.submit(SHORT, failing)
        pool.submit(SHORT, lambda: made.append(1))
        assert becomes(lambda: pool.idle, WAIT_S)
    assert (made, [record.message for record in caplog.records]) == ([1], ["a prompt could not be made"])


def test_stop_runs_what_was_submitted() -> None:
    """Also what no thread had begun."""
    pool, made, go = PromptPool(2), [], threading.Event()
    pool.start()
    for number in range(20):
        pool.submit(LONG, lambda number=number: go.wait(WAIT_S) and made.append(number))  # type: ignore[misc]
    threading.Timer(0.05, go.set).start()
    pool.stop()
    assert sorted(made) == list(range(20))
    assert pool.idle


def test_a_pool_has_two_to_four_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, threads in ((1, 2), (2, 2), (6, 3), (16, 4), (128, 4)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))  # type: ignore[misc]
        assert prompt_threads() == threads
