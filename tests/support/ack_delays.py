"""A server between engine and postprocessing with every delay there may be, so that an AckLedger is tried without one."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from qwen_triton.ensemble.ack_ledger import AckLedger

MS = 1_000_000
STEP = 50 * MS
ASK_EACH = 3


@dataclass
class Stub:
    """A process of postprocessing: takes a batch when it is free, reports every second step, may stop for a while."""

    name: str
    busy_until: int = 0
    stopped_until: int = 0
    worked: bool = False
    seen: dict[int, int] = field(default_factory=dict)
    newest: int = 0
    reports: deque[tuple[int, int, list[tuple[int, int]], int]] = field(default_factory=deque)


class Server:
    """Engine model, the server's queue and postprocessing, in steps; chunks of abandoned requests lead to no step."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.ledger = AckLedger()
        self.stubs = [Stub(f"p{i}") for i in range(draw.choice([1, 1, 2, 3]))]
        self.queue: deque[tuple[int, int]] = deque()
        self.requests = {self.ledger.begin("e"): False for _ in range(draw.randint(1, 6))}
        self.abandoned: set[int] = set()
        self.sending: dict[int, int] = {}
        self.now, self.calm, self.server_stopped_until = 0, False, 0
        self.pace = draw.choice([0.05, 0.5, 0.95])
        self.slowness = draw.choice([0, 2, 20])
        self.others = draw.choice([0.0, 0.0, 0.1, 0.9])
        """Chance of a chunk of another engine model in a step: it goes through the same queue."""

    def step(self, number: int) -> None:
        self.now += STEP
        chance = 0.0 if self.calm else self.draw.random()
        if chance > 0.995:
            self.now += self.draw.randint(1, 5000) * MS  # the whole machine
        elif chance > 0.99 and not self.server_stopped_until:
            self.server_stopped_until = self.now + self.draw.randint(1, 5000) * MS
        for stub in self.stubs:
            self._run(stub, number)
        if self.now >= self.server_stopped_until:
            self._send()
            self._dispatch()
            if number % ASK_EACH == 0:
                self._ask()

    def _send(self) -> None:
        for request in self.requests:
            if request in self.sending:
                if self.sending[request] <= self.now:
                    self.ledger.on_sent(request, self.now)
                    del self.sending[request]
            elif self.draw.random() < self.pace:
                self.ledger.on_send(request, self.now)
                if request not in self.abandoned:
                    self.queue.append((request, self.now))
                if self.draw.random() < self.others:
                    self.queue.append((0, self.now))
                slow = not self.calm and self.draw.random() < 0.02
                self.sending[request] = self.now + (self.draw.randint(0, 3000) * MS if slow else 0)

    def _dispatch(self) -> None:
        for stub in self.draw.sample(self.stubs, len(self.stubs)):
            if self.queue and stub.busy_until <= self.now >= stub.stopped_until:
                for _ in range(min(len(self.queue), 64 if self.calm else self.draw.choice([1, 1, 4]))):
                    request, begun = self.queue.popleft()
                    if request:
                        stub.seen[request] = begun
                    stub.newest = begun
                slow = 0 if self.calm else self.draw.randint(0, self.slowness)
                stub.busy_until = self.now + slow * STEP
                stub.worked = True

    def _run(self, stub: Stub, number: int) -> None:
        if not self.calm and self.draw.random() < 0.01:
            stub.stopped_until = self.now + self.draw.randint(1, 5000) * MS
        if number % 2 == 0 and self.now >= stub.stopped_until:
            seen = stub.seen | ({0: 0} if stub.worked else {})
            due = self.now + self.draw.choice([0, 0, 20]) * MS
            stub.reports.append((self.now, due, list(seen.items()), stub.newest))
            stub.worked, stub.seen, stub.newest = stub.busy_until > self.now, {}, 0
        while stub.reports and stub.reports[0][1] <= self.now:
            at, _, acks, newest = stub.reports.popleft()
            self.ledger.on_report(stub.name, at, acks, newest)

    def _ask(self) -> None:
        for request, found in self.requests.items():
            answer = self.ledger.is_abandoned(request, self.now)
            assert not answer or request in self.abandoned, "a live request was lost"
            self.requests[request] = found or answer
