"""Queue and accounts that another process keeps: the same answers as in one process, whatever is asked in which order."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from qwen_triton_openai.errors import ApiError
from qwen_triton_openai.middleware.keys import KeyLimits, KeyRing, digest_of
from qwen_triton_openai.middleware.queue import QueueFull, Slots, WaitQueue
from qwen_triton_openai.middleware.rate_limit import Accounts, KeyAccounts, KeyAdmission
from qwen_triton_openai.processes.link import Link
from qwen_triton_openai.processes.shared_limits import (
    LimitKeeper,
    Questions,
    RemoteAccounts,
    RemoteQueue,
    WorkerClaims,
)
from qwen_triton_openai.processes.shared_room import SharedRoom, new_memory
from tests.support.asgi import until

LIMITS = {
    "alice": KeyLimits(requests_per_minute=5),
    "bob": KeyLimits(tokens_per_minute=40, concurrency=3),
    "carol": KeyLimits(),
}
WORKERS = 3
SLOTS = 4


class Worker:
    """A worker's view, and the main process's of it, over a pair of sockets in one event loop."""

    def __init__(self, keeper: LimitKeeper, place: int = 0) -> None:
        self.near = Link(lambda message: self.questions.on_message(message), lambda: self.questions.close())
        self.far = Link(lambda message: self.claims.on_message(message), lambda: self.claims.give_back())
        self.questions = Questions(self.near.send, self.near.send_soon)
        self.claims = WorkerClaims(keeper, place, self.far.send_soon)
        self.queue: Slots = RemoteQueue(self.questions, keeper.room, place)
        self.accounts: KeyAccounts = RemoteAccounts(self.questions)

    async def open(self) -> Worker:
        near, far = socket.socketpair()
        await self.near.open(near)
        await self.far.open(far)
        return self


def keeper_of(now: Callable[[], float], ring: KeyRing | None = None) -> LimitKeeper:
    room = SharedRoom(new_memory(WORKERS), SLOTS)
    return LimitKeeper(WaitQueue(SLOTS, 3, room), room, Accounts(now), ring or KeyRing(environment={}), KeyLimits())


async def outcome(admission: Awaitable[Any]) -> Any:
    """What was given, or the refusal's facts."""
    try:
        return await asyncio.wait_for(admission, 10)
    except ApiError as error:
        return [error.status, error.message, error.param, error.code, error.kind, error.headers]


class Story:
    """The same requests on the objects of one process and on those of several workers; compares after each step."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.local_queue, self.local_accounts = WaitQueue(SLOTS, 3), Accounts(lambda: self.now)
        self.keeper = keeper_of(lambda: self.now)
        self.workers: list[Worker] = []
        self.entries: list[tuple[int, asyncio.Future[None] | None, asyncio.Future[None]]] = []
        self.admissions: list[tuple[int, KeyAdmission, KeyAdmission]] = []

    async def run(self, steps: int) -> None:
        self.workers = [await Worker(self.keeper, place).open() for place in range(WORKERS)]
        kinds = [self.enter, self.enter, self.leave, self.begin, self.begin, self.add, self.end, self.wait, self.die]
        weights = [4, 4, 6, 4, 4, 3, 5, 3, 1]
        for kind in self.random.choices(kinds, weights, k=steps):
            await kind()
            await self.compare()
        for worker in self.workers:
            worker.near.close()

    async def compare(self) -> None:
        for worker in self.workers:
            assert await worker.queue.ask_length() == self.local_queue.length
        assert self.keeper.queue.in_flight == self.local_queue.in_flight
        await asyncio.sleep(0)
        for number, local, remote in self.entries:
            await self.workers[number].queue.ask_length()
            assert (local is None or local.done()) == remote.done()

    async def enter(self) -> None:
        number, sequences = self.random.randrange(WORKERS), self.random.randint(1, 5)
        remote = self.workers[number].queue.enter(sequences)
        await self.workers[number].queue.ask_length()
        try:
            local = self.local_queue.enter(sequences)
        except QueueFull:
            assert isinstance(remote.exception(), QueueFull)
            self.workers[number].queue.leave(remote)
            return
        self.entries.append((number, local, remote))

    async def leave(self) -> None:
        if not self.entries:
            return
        number, local, remote = self.entries.pop(self.random.randrange(len(self.entries)))
        self.workers[number].queue.leave(remote)
        if local is not None:
            self.local_queue.leave(local)

    async def begin(self) -> None:
        number, name = self.random.randrange(WORKERS), self.random.choice(list(LIMITS))
        local = await outcome(self.local_accounts.begin(name, LIMITS[name]))
        remote = await outcome(self.workers[number].accounts.begin(name, LIMITS[name]))
        if isinstance(local, list):
            assert remote == local
            return
        assert remote.headers() == local.headers()
        self.admissions.append((number, local, remote))

    async def add(self) -> None:
        if not self.admissions:
            return
        _, local, remote = self.random.choice(self.admissions)
        more = self.random.randint(0, 3)
        refusal = await outcome(local.add(more))
        assert await outcome(remote.add(more)) == refusal
        if more and refusal is None:
            assert remote.headers() == local.headers()

    async def end(self) -> None:
        if not self.admissions:
            return
        _, local, remote = self.admissions.pop(self.random.randrange(len(self.admissions)))
        tokens = self.random.randint(0, 30)
        local.end(tokens)
        remote.end(tokens)

    async def wait(self) -> None:
        self.now += self.random.choice([0.1, 3.0, 20.0])

    async def die(self) -> None:
        """A worker is killed: what it held is as if its requests had ended."""
        number = self.random.randrange(WORKERS)
        self.workers[number].near.close()
        claims = self.workers[number].claims
        await until(lambda: not claims._entries and not claims._admissions)
        for _, local, _ in (a for a in self.admissions if a[0] == number):
            local.end(0)
        for _, entry, _ in (e for e in self.entries if e[0] == number):
            assert entry is not None
            self.local_queue.leave(entry)
        self.admissions = [a for a in self.admissions if a[0] != number]
        self.entries = [e for e in self.entries if e[0] != number]
        self.workers[number] = await Worker(self.keeper, number).open()


@pytest.mark.parametrize("seed", range(40))
def test_several_workers_get_the_answers_of_one_process(seed: int) -> None:
    """Random requests of three keys on three workers, one of which dies now and then."""
    asyncio.run(Story(seed).run(60))


def test_a_request_that_left_while_it_asked_holds_nothing() -> None:
    """Whether its answer was on the way or not."""

    async def story() -> None:
        keeper = keeper_of(lambda: 0.0)
        worker = await Worker(keeper).open()
        limits = KeyLimits(concurrency=1)
        asking = asyncio.ensure_future(worker.accounts.begin("alice", limits))
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        worker.queue.leave(worker.queue.enter(4))
        entry = worker.queue.enter(4)
        await worker.accounts.begin("alice", limits)
        assert (entry.done(), keeper.queue.in_flight) == (True, 4)
        worker.near.close()

    asyncio.run(story())


def test_a_worker_whose_main_process_is_gone_gets_no_answers() -> None:
    """An error, not a wait without end."""

    async def story() -> None:
        worker = await Worker(keeper_of(lambda: 0.0)).open()
        running, waiting = worker.queue.enter(4), worker.queue.enter(4)
        await running
        worker.far.close()
        with pytest.raises(ApiError, match="shutting down"):
            await asyncio.wait_for(waiting, 10)

    asyncio.run(story())


def test_a_changed_file_of_keys_changes_an_account_once(tmp_path: Path) -> None:
    """Whichever worker has read it: the main process's file decides, and what runs still counts."""
    file = tmp_path / "keys"

    def write(limits: str) -> None:
        file.write_text(f"alice sha256:{digest_of('a' * 30)} {limits}\n")

    write("requests_per_minute=2")
    now = 0.0
    ring = KeyRing(file, {}, lambda: now)

    async def story() -> None:
        nonlocal now
        old, new = KeyLimits(requests_per_minute=2), KeyLimits(requests_per_minute=3)
        keeper = keeper_of(lambda: now, ring)
        first, second = await Worker(keeper, 0).open(), await Worker(keeper, 1).open()
        await first.accounts.begin("alice", old)
        await second.accounts.begin("alice", old)
        assert (await outcome(first.accounts.begin("alice", old)))[0] == 429
        write("requests_per_minute=3 ")
        now = 2.0
        for worker, limits in ((first, old), (second, new), (first, old)):
            await worker.accounts.begin("alice", limits)
        assert [(await outcome(w.accounts.begin("alice", new)))[0] for w in (first, second)] == [429, 429]
        write("concurrency=6")
        now = 4.0
        admission = await first.accounts.begin("alice", new)
        assert (await outcome(second.accounts.begin("alice", new)))[3] == "concurrency_limit_exceeded"
        admission.end(0)
        await second.accounts.begin("alice", new)
        for worker in (first, second):
            worker.near.close()

    asyncio.run(story())
