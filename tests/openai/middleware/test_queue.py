"""Admission queue: bounded, first come, first served; who disconnects leaves it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from qwen_triton_openai.middleware.queue import QueueFull, WaitQueue
from qwen_triton_openai.settings import ShimSettings
from tests.support.asgi import Connection, ask, status, until, with_app
from tests.support.fake_triton import FakeTriton, chat_body
from tests.support.shim_requests import CHAT


def test_the_queue_is_bounded_and_first_come_first_served() -> None:
    """One generates, one waits, the third is refused at once; the second's turn comes when the first leaves."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, second, third = (Connection(CHAT, chat_body()) for _ in range(3))
        running = asyncio.create_task(ask(app, first))
        await until(lambda: len(triton.sent) == 1)
        waiting = asyncio.create_task(ask(app, second))
        await asyncio.sleep(0.02)
        await ask(app, third)
        assert status(third) == 503
        assert dict(third.sent[0]["headers"])[b"retry-after"] == b"1"
        assert b"overloaded" in third.sent[1]["body"]
        assert len(triton.sent) == 1
        first.leave()
        await running
        await until(lambda: len(triton.sent) == 2)
        second.leave()
        await waiting

    asyncio.run(with_app(ShimSettings(max_in_flight=1, max_queued=1), triton, story))
    assert all(g.cancelled for g in triton.generations)


def test_who_leaves_the_queue_makes_room() -> None:
    """And is never sent to the model."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, gone, third = (Connection(CHAT, chat_body()) for _ in range(3))
        tasks = [asyncio.create_task(ask(app, first))]
        await until(lambda: len(triton.sent) == 1)
        waiting = asyncio.create_task(ask(app, gone))
        await asyncio.sleep(0.02)
        gone.leave()
        await waiting
        tasks.append(asyncio.create_task(ask(app, third)))
        await asyncio.sleep(0.02)
        assert status(third) == 0
        first.leave()
        await until(lambda: len(triton.sent) == 2)
        third.leave()
        await asyncio.gather(*tasks)

    asyncio.run(with_app(ShimSettings(max_in_flight=1, max_queued=1), triton, story))
    assert len(triton.sent) == 2


def test_waiting_has_an_end() -> None:
    """503 when no turn came."""
    triton = FakeTriton([], endless=True)

    async def story(app: Any) -> None:
        first, second = (Connection(CHAT, chat_body()) for _ in range(2))
        running = asyncio.create_task(ask(app, first))
        await until(lambda: len(triton.sent) == 1)
        await ask(app, second)
        assert status(second) == 503
        assert b"no turn came" in second.sent[1]["body"]
        first.leave()
        await running

    asyncio.run(with_app(ShimSettings(max_in_flight=1, queue_timeout_s=0.05), triton, story))


def test_a_wait_queue_hands_slots_on_in_order() -> None:
    """A slot that is given back goes to the first who waits."""

    async def story() -> None:
        queue = WaitQueue(1, 2)
        first, second, third = queue.enter(), queue.enter(), queue.enter()
        with pytest.raises(QueueFull):
            queue.enter()
        assert (first.done(), second.done(), queue.length) == (True, False, 2)
        queue.leave(second)
        queue.leave(first)
        assert (third.done(), queue.in_flight, queue.length) == (True, 1, 0)
        queue.leave(third)
        assert queue.in_flight == 0
        assert WaitQueue(0, 0).enter().done()

    asyncio.run(story())


def test_a_request_counts_as_its_sequences() -> None:
    """Two prompts times n = 2 take the four slots; the next waits, and is refused where it may not."""
    triton = FakeTriton([], endless=True)
    body = {"model": "qwen", "prompt": ["a", "b"], "n": 2}

    async def story(app: Any) -> None:
        first, second, third = Connection("/v1/completions", body), *(Connection(CHAT, chat_body()) for _ in range(2))
        running = asyncio.create_task(ask(app, first))
        await until(lambda: len(triton.sent) == 2)
        waiting = asyncio.create_task(ask(app, second))
        await asyncio.sleep(0.02)
        assert len(triton.sent) == 2
        await ask(app, third)
        assert status(third) == 503
        first.leave()
        await running
        await until(lambda: len(triton.sent) == 3)
        second.leave()
        await waiting

    asyncio.run(with_app(ShimSettings(max_in_flight=4, max_queued=1), triton, story))


def test_a_request_of_more_sequences_than_slots_runs_alone() -> None:
    async def story() -> None:
        queue = WaitQueue(2, 8)
        small = queue.enter()
        large, after = queue.enter(5), queue.enter()
        assert (large.done(), after.done(), queue.length) == (False, False, 2)
        queue.leave(small)
        assert (large.done(), after.done(), queue.in_flight) == (True, False, 2)
        queue.leave(large)
        assert (after.done(), queue.in_flight) == (True, 1)
        queue.leave(after)
        assert queue.in_flight == 0

    asyncio.run(story())


def test_who_leaves_the_head_of_the_queue_lets_others_pass() -> None:
    async def story() -> None:
        queue = WaitQueue(3, 8)
        running, large, small = queue.enter(2), queue.enter(3), queue.enter(1)
        assert (large.done(), small.done()) == (False, False)
        queue.leave(large)
        assert (small.done(), queue.in_flight) == (True, 3)
        queue.leave(running)
        queue.leave(small)
        assert queue.in_flight == 0

    asyncio.run(story())


def test_waiting_sequences_are_bounded_as_well() -> None:
    async def story() -> None:
        queue = WaitQueue(4, 4)
        entries = [queue.enter(4), queue.enter(3)]
        with pytest.raises(QueueFull):
            queue.enter(2)
        entries.append(queue.enter(1))
        assert queue.full
        for entry in entries:
            queue.leave(entry)
        assert not queue.full

    asyncio.run(story())
