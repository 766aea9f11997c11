"""Rate limits of each key: requests and tokens per minute, requests at once. A request of several sequences counts as so many.

Refuses with 429, Retry-After and OpenAI's x-ratelimit headers. An answer's tokens are charged at its end, when they are
known; a key that has overdrawn its tokens then waits until the bucket has filled up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ApiError, bad_request
from .keys import KeyLimits
from .observe import RequestRecord

_SECONDS_IN_MS = 1000
_MINUTE_S = 60


class KeyAdmission(Protocol):
    """A request in the account of its key. Its `end` must be told."""

    async def add(self, more: int) -> None:
        """Counts `more` sequences of a request that counts as one so far. Raises ApiError."""

    def headers(self) -> Mapping[str, str]:
        """OpenAI's x-ratelimit headers: of now, or of the latest answer where another process keeps the account."""

    def end(self, tokens: int) -> None:
        """The request has ended and cost so many tokens, those of the prompt and of the answer."""


class KeyAccounts(Protocol):
    """What all keys have used: `Accounts` in this process, or those that another process keeps for several."""

    async def begin(self, name: str, limits: KeyLimits) -> KeyAdmission:
        """Counts a request of the key `name`. Raises ApiError, with the headers, for one beyond its limits."""


class RateLimitMiddleware:
    """Limits POST requests: those under /v1 and those to the tokenizer. `default`: limits of keys without their own."""

    def __init__(self, app: ASGIApp, default: KeyLimits, accounts: KeyAccounts) -> None:
        self._app = app
        self._default = default
        self._accounts = accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["record"]
        key = scope.get("api_key")
        try:
            admission = await self._accounts.begin(record.key_name, (key and key.limits) or self._default)
        except ApiError as refusal:
            await refusal.response()(scope, receive, send)
            return
        await self._admit(admission, record, scope, receive, send)

    async def _admit(
        self, admission: KeyAdmission, record: RequestRecord, scope: Scope, receive: Receive, send: Send
    ) -> None:
        async def add_sequences(sequences: int) -> None:
            await admission.add(sequences - 1)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start" and (headers := admission.headers()):
                MutableHeaders(scope=message).update(headers)
            await send(message)

        scope["add_sequences"] = add_sequences
        try:
            await self._app(scope, receive, with_headers)
        finally:
            del scope["add_sequences"]
            admission.end(record.prompt_tokens + record.completion_tokens)


class Accounts:
    """The accounts of all keys, in this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def begin(self, name: str, limits: KeyLimits) -> AccountAdmission:
        return self.admit(name, limits)

    def admit(self, name: str, limits: KeyLimits) -> AccountAdmission:
        """As `begin`, which waits for nothing here."""
        account = self._account(name, limits)
        refusal = account.refusal()
        if refusal is not None:
            refusal.headers |= account.headers()
            raise refusal
        return AccountAdmission(account)

    def _account(self, name: str, limits: KeyLimits) -> _Account:
        """The key's account. When its limits change, its buckets start full; its running requests still count."""
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = _Account(limits, None, None)
            account.set_limits(limits, self._clock)
        elif account.limits != limits:
            account.set_limits(limits, self._clock)
        return account


class AccountAdmission:
    """One request in an account of this process; counts it as one sequence until more are added."""

    def __init__(self, account: _Account) -> None:
        self._account = account
        self._sequences = 1
        account.begin()

    async def add(self, more: int) -> None:
        self.take(more)

    def take(self, more: int) -> None:
        """As `add`, which waits for nothing here."""
        self._account.add(more)
        self._sequences += more

    def headers(self) -> dict[str, str]:
        return self._account.headers()

    def end(self, tokens: int) -> None:
        self._account.end(self._sequences, tokens)


@dataclass(slots=True)
class _Account:
    """One key's usage. A bucket is None where there is no such limit."""

    limits: KeyLimits
    requests: RateBucket | None
    tokens: RateBucket | None
    running: int = 0

    def set_limits(self, limits: KeyLimits, clock: Callable[[], float]) -> None:
        self.limits = limits
        self.requests, self.tokens = (
            RateBucket(per_minute, clock) if per_minute else None
            for per_minute in (limits.requests_per_minute, limits.tokens_per_minute)
        )

    def refusal(self) -> ApiError | None:
        limits = self.limits
        if limits.concurrency and self.running >= limits.concurrency:
            return _too_many("requests", f"{limits.concurrency} requests at once", 1.0, "concurrency_limit_exceeded")
        for what, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None and (wait_s := bucket.wait_s()) > 0:
                return _too_many(what, f"{bucket.per_minute} {what} per minute", wait_s, "rate_limit_exceeded")
        return None

    def begin(self) -> None:
        self.running += 1
        if self.requests is not None:
            self.requests.take(1)

    def end(self, sequences: int, tokens: int) -> None:
        self.running -= sequences
        if self.tokens is not None:
            self.tokens.take(tokens)

    def add(self, more: int) -> None:
        """Counts `more` sequences of a request that counts as one so far. Raises ApiError."""
        limits, sequences = self.limits, 1 + more
        if limits.concurrency and sequences > limits.concurrency:
            raise bad_request(
                f"n: with all prompts {sequences} sequences; this key may have {limits.concurrency} at once, ask for fewer",
                "n",
            )
        if limits.concurrency and self.running + more > limits.concurrency:
            raise _too_many("requests", f"{limits.concurrency} requests at once", 1.0, "concurrency_limit_exceeded")
        self.running += more
        if self.requests is not None:
            self.requests.take(more)

    def headers(self) -> dict[str, str]:
        headers = {}
        for what, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                headers[f"x-ratelimit-limit-{what}"] = str(bucket.per_minute)
                headers[f"x-ratelimit-remaining-{what}"] = str(bucket.left)
                headers[f"x-ratelimit-reset-{what}"] = duration(bucket.reset_s())
        return headers


def _too_many(kind: str, limit: str, wait_s: float, code: str) -> ApiError:
    seconds = max(1, math.ceil(wait_s))
    message = f"Rate limit reached: this key may have {limit}; try again in {seconds} s"
    return ApiError(429, message, kind=kind, code=code, headers={"Retry-After": str(seconds)})


def duration(seconds: float) -> str:
    """A duration as OpenAI's headers have it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * _SECONDS_IN_MS)}ms"
    if seconds < _MINUTE_S:
        return f"{math.ceil(seconds * 10) / 10:g}s"
    return f"{int(seconds) // _MINUTE_S}m{int(seconds) % _MINUTE_S}s"


class RateBucket:
    """Token bucket: fills evenly up to `per_minute`. More may be taken than it holds; its level is then negative."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._per_s = per_minute / _MINUTE_S
        self._level = float(per_minute)
        self._clock = clock
        self._at = clock()

    def take(self, amount: float) -> None:
        self._fill()
        self._level -= amount

    @property
    def left(self) -> int:
        self._fill()
        return max(0, int(self._level))

    def wait_s(self) -> float:
        """Seconds until one more may be taken; 0 = now."""
        self._fill()
        return max(0.0, (1 - self._level) / self._per_s)

    def reset_s(self) -> float:
        """Seconds until the bucket is full."""
        self._fill()
        return (self.per_minute - self._level) / self._per_s

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self._per_s)
        self._at = now
