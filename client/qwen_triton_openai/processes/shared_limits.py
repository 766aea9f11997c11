"""Queue and accounts of keys for all workers: the main process keeps them, each worker asks.

A request that finds a slot takes it without asking (shared_room.py), and one without a key has no account where nothing
limits it, so that most requests pass without a message.

    worker → main process                     main process → worker
    begin CLAIM NAME LIMITS                   granted CLAIM HEADERS, or refused CLAIM ERROR; nothing for a key without limits
    add CLAIM MORE                            granted CLAIM HEADERS, or refused CLAIM ERROR
    end CLAIM TOKENS
    enter CLAIM SEQUENCES                     granted CLAIM null when the request may run, or refused CLAIM null
    leave CLAIM
    left                                      (slots that were taken without asking are free, while requests wait)
    length CLAIM                              granted CLAIM NUMBER

A claim is a number that its worker chose. What a worker holds is given back when it dies.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Mapping
from dataclasses import astuple
from typing import Any

from ..errors import ApiError
from ..middleware.keys import KeyLimits, KeyRing
from ..middleware.observe import NO_KEY
from ..middleware.queue import QueueFull, WaitQueue, slots_of
from ..middleware.rate_limit import AccountAdmission, Accounts, KeyAdmission
from .link import Message
from .shared_room import SharedRoom

Send = Callable[..., None]
NO_LIMITS = KeyLimits()


class Questions:
    """A worker's questions that have no answer yet. `send` sends a message to the main process, `send_soon` one that may wait
    for others."""

    def __init__(self, send: Send, send_soon: Send) -> None:
        self.tell = send
        self.tell_soon = send_soon
        self._claims = itertools.count()
        self._open: dict[int, asyncio.Future[Any]] = {}

    def new_claim(self) -> int:
        return next(self._claims)

    def ask(self, kind: str, claim: int, *facts: Any) -> asyncio.Future[Any]:
        """The answer: what was granted. It raises ApiError or QueueFull for what was refused."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._open[claim] = answer
        self.tell_soon(kind, claim, *facts)
        return answer

    def drop(self, claim: int) -> None:
        """Nobody waits for the answer any more."""
        self._open.pop(claim, None)

    def on_message(self, message: Message) -> None:
        """Takes `granted` and `refused`."""
        kind, claim, fact = message
        answer = self._open.pop(claim, None)
        if answer is None or answer.done():
            return
        if kind == "granted":
            answer.set_result(fact)
        else:
            answer.set_exception(QueueFull() if fact is None else _error(fact))

    def close(self) -> None:
        """The main process is gone: there will be no answers."""
        for answer in self._open.values():
            if not answer.done():
                answer.set_exception(ApiError(503, "this server is shutting down; try again", code="shutting_down"))
                answer.exception()  # its request may have ended, and nobody awaits it
        self._open.clear()


class RemoteQueue:
    """A worker's view of the queue (middleware/queue.Slots)."""

    full = False
    """Decided by `enter`, so that a request asks once."""

    def __init__(self, questions: Questions, room: SharedRoom, place: int) -> None:
        self._questions = questions
        self._room = room
        self._place = place
        self._taken: dict[asyncio.Future[None], int] = {}
        """Slots that entries have without having asked."""
        self._claims: dict[asyncio.Future[None], int] = {}

    def enter(self, sequences: int = 1) -> asyncio.Future[None]:
        size = slots_of(sequences, self._room.most)
        if self._room.take_unless_waiting(size, self._place):
            taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            taken.set_result(None)
            self._taken[taken] = size
            return taken
        claim = self._questions.new_claim()
        entry: asyncio.Future[None] = self._questions.ask("enter", claim, sequences)
        self._claims[entry] = claim
        return entry

    def leave(self, entry: asyncio.Future[None]) -> None:
        if size := self._taken.pop(entry, 0):
            if self._room.give_back(size, self._place):
                self._questions.tell_soon("left")
            return
        claim = self._claims.pop(entry)
        if not entry.done():
            entry.cancel()
            self._questions.drop(claim)
        elif not entry.cancelled() and entry.exception() is not None:
            return
        self._questions.tell_soon("leave", claim)

    async def ask_length(self) -> int:
        length = await self._questions.ask("length", self._questions.new_claim())
        return int(length)


class RemoteAccounts:
    """A worker's view of the accounts (middleware/rate_limit.KeyAccounts). A key without limits is counted unasked, because
    it may get some; a request without a key cannot."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def begin(self, name: str, limits: KeyLimits) -> KeyAdmission:
        if name == NO_KEY and limits == NO_LIMITS:
            return _UNLIMITED
        claim = self._questions.new_claim()
        admission = RemoteAdmission(self._questions, claim)
        if limits == NO_LIMITS:
            self._questions.tell_soon("begin", claim, name, astuple(limits))
            return admission
        try:
            await admission.ask("begin", name, astuple(limits))
        except asyncio.CancelledError:
            admission.end(0)
            raise
        return admission


class RemoteAdmission:
    """One request in an account that the main process keeps. The headers are those of the latest answer."""

    def __init__(self, questions: Questions, claim: int) -> None:
        self._questions = questions
        self._claim = claim
        self._headers: Mapping[str, str] = {}

    async def ask(self, kind: str, *facts: Any) -> None:
        self._headers = await self._questions.ask(kind, self._claim, *facts)

    async def add(self, more: int) -> None:
        if more:
            await self.ask("add", more)

    def headers(self) -> Mapping[str, str]:
        return self._headers

    def end(self, tokens: int) -> None:
        """Told at once: the client has its answer, and may send the next request by another worker."""
        self._questions.drop(self._claim)
        self._questions.tell("end", self._claim, tokens)


class _Unlimited:
    """A request that nothing limits."""

    async def add(self, more: int) -> None: ...

    def headers(self) -> Mapping[str, str]:
        return {}

    def end(self, tokens: int) -> None: ...


_UNLIMITED = _Unlimited()


class LimitKeeper:
    """Queue and accounts of all workers, in the main process. `room`: that of the queue.

    `default`: the limits of a key without its own. Limits are those of this process's `ring`, so that a changed file
    changes an account once, whenever each worker reads it.
    """

    def __init__(
        self, queue: WaitQueue, room: SharedRoom, accounts: Accounts, ring: KeyRing, default: KeyLimits
    ) -> None:
        self.queue = queue
        self.room = room
        self.accounts = accounts
        self._ring = ring
        self._default = default

    def limits(self, name: str, told: KeyLimits) -> KeyLimits:
        """The limits of a key; those that the worker told where this process has no such key."""
        key = self._ring.named(name) if self._ring.required else None
        return told if key is None else key.limits or self._default


class WorkerClaims:
    """What one worker, that at `place`, holds of the queue and of the accounts. `send` sends a message to it, which may wait
    for others."""

    def __init__(self, keeper: LimitKeeper, place: int, send: Send) -> None:
        self._keeper = keeper
        self._place = place
        self._send = send
        self._admissions: dict[int, AccountAdmission] = {}
        self._entries: dict[int, asyncio.Future[None]] = {}
        self._handlers: dict[str, Callable[..., None]] = {
            "begin": self._begin,
            "add": self._add,
            "end": self._end,
            "enter": self._enter,
            "leave": self._leave,
            "left": keeper.queue.go_on,
            "length": self._length,
        }

    def on_message(self, message: Message) -> None:
        """Takes a worker's message."""
        kind, *facts = message
        self._handlers[kind](*facts)

    def give_back(self) -> None:
        """The worker is gone: its requests have ended."""
        for claim in list(self._admissions):
            self._end(claim, 0)
        for claim in list(self._entries):
            self._leave(claim)
        self._keeper.room.clear(self._place)
        self._keeper.queue.go_on()

    def _begin(self, claim: int, name: str, told: list[int]) -> None:
        limits = KeyLimits(*told)
        try:
            admission = self._keeper.accounts.admit(name, self._keeper.limits(name, limits))
        except ApiError as error:
            self._send("refused", claim, _fields(error))
            return
        self._admissions[claim] = admission
        if limits != NO_LIMITS:
            self._send("granted", claim, admission.headers())

    def _add(self, claim: int, more: int) -> None:
        if (admission := self._admissions.get(claim)) is None:
            self._send("granted", claim, {})
            return
        try:
            admission.take(more)
        except ApiError as error:
            self._send("refused", claim, _fields(error))
            return
        self._send("granted", claim, admission.headers())

    def _end(self, claim: int, tokens: int) -> None:
        if (admission := self._admissions.pop(claim, None)) is not None:
            admission.end(tokens)

    def _enter(self, claim: int, sequences: int) -> None:
        try:
            entry = self._keeper.queue.enter(sequences, self._place)
        except QueueFull:
            self._send("refused", claim, None)
            return
        self._entries[claim] = entry
        if entry.done():
            self._send("granted", claim, None)
        else:
            entry.add_done_callback(lambda done: None if done.cancelled() else self._send("granted", claim, None))

    def _leave(self, claim: int) -> None:
        if (entry := self._entries.pop(claim, None)) is not None:
            self._keeper.queue.leave(entry)

    def _length(self, claim: int) -> None:
        self._send("granted", claim, self._keeper.queue.length)


def _fields(error: ApiError) -> list[Any]:
    return [error.status, error.message, error.param, error.code, error.kind, error.headers]


def _error(fields: list[Any]) -> ApiError:
    status, message, param, code, kind, headers = fields
    return ApiError(status, message, param=param, code=code, kind=kind, headers=headers)
