"""Rate limits of each key: requests and tokens per minute, requests at once. A request of several sequences counts as so many.

Refuses with 429, Retry-After and OpenAI's x-ratelimit headers. An answer's tokens are charged at its end, when they are
known; a key that has overdrawn its tokens then waits until the bucket has filled up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ApiError, bad_request
from .keys import KeyLimits
from .observe import RequestRecord

_SECONDS_IN_MS = 1000
_MINUTE_S = 60


@dataclass(slots=True)
class _Account:
    """One key's usage. A bucket is None where there is no such limit."""

    limits: KeyLimits
    requests: RateBucket | None
    tokens: RateBucket | None
    running: int = 0

    def refusal(self) -> ApiError | None:
        limits = self.limits
        if limits.concurrency and self.running >= limits.concurrency:
            return _too_many("requests", f"{limits.concurrency} requests at once", 1.0, "concurrency_limit_exceeded")
        for what, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None and (wait_s := bucket.wait_s()) > 0:
                return _too_many(what, f"{bucket.per_minute} {what} per minute", wait_s, "rate_limit_exceeded")
        return None

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


class RateLimitMiddleware:
    """Limits POST requests: those under /v1 and those to the tokenizer. `default`: limits of keys without their own."""

    def __init__(self, app: ASGIApp, default: KeyLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._default = default
        self._clock = clock
        self._accounts: dict[str, _Account] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        record: RequestRecord = scope["record"]
        key = scope.get("api_key")
        account = self._account(record.key_name, (key and key.limits) or self._default)
        refusal = account.refusal()
        if refusal is not None:
            refusal.headers |= account.headers()
            await refusal.response()(scope, receive, send)
            return
        await self._admit(account, record, scope, receive, send)

    async def _admit(
        self, account: _Account, record: RequestRecord, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if account.requests is not None:
            account.requests.take(1)
        account.running += 1
        added = 0

        def add_sequences(sequences: int) -> None:
            nonlocal added
            account.add(sequences - 1)
            added = sequences - 1

        scope["add_sequences"] = add_sequences

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(account.headers())
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        finally:
            account.running -= 1 + added
            if account.tokens is not None:
                account.tokens.take(record.prompt_tokens + record.completion_tokens)

    def _account(self, name: str, limits: KeyLimits) -> _Account:
        """The key's account. When its limits change, its buckets start full; its running requests still count."""
        account = self._accounts.get(name)
        if account is None or account.limits != limits:
            running = account.running if account else 0
            account = self._accounts[name] = _Account(
                limits, self._bucket(limits.requests_per_minute), self._bucket(limits.tokens_per_minute), running
            )
        return account

    def _bucket(self, per_minute: int) -> RateBucket | None:
        return RateBucket(per_minute, self._clock) if per_minute else None


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
