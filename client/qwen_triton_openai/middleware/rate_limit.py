"""Limits of each key: requests and tokens per minute, requests at once. Refuses with 429, Retry-After and OpenAI's
x-ratelimit headers.

Tokens are known when an answer ends, and are taken then; whoever has overdrawn the minute waits until it has filled up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import ApiError
from .keys import Limits
from .observe import RequestRecord

_SECONDS_IN_MS = 1000


_MINUTE_S = 60


@dataclass(slots=True)
class _Account:
    """One key's use. Buckets of limits that do not exist are None."""

    limits: Limits
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

    def headers(self) -> dict[str, str]:
        found = {}
        for what, bucket in (("requests", self.requests), ("tokens", self.tokens)):
            if bucket is not None:
                found[f"x-ratelimit-limit-{what}"] = str(bucket.per_minute)
                found[f"x-ratelimit-remaining-{what}"] = str(bucket.left)
                found[f"x-ratelimit-reset-{what}"] = duration(bucket.reset_s())
        return found


class LimitGate:
    """Counts POST requests under /v1 and those to the tokenizer. `default`: the limits of keys that have none."""

    def __init__(self, app: ASGIApp, default: Limits, clock: Callable[[], float] = time.monotonic) -> None:
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

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(account.headers())
            await send(message)

        try:
            await self._app(scope, receive, with_headers)
        finally:
            account.running -= 1
            if account.tokens is not None:
                account.tokens.take(record.prompt_tokens + record.completion_tokens)

    def _account(self, name: str, limits: Limits) -> _Account:
        """The key's account; what it has running is kept when its limits change, its minutes begin anew."""
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
    """As OpenAI writes it: 20ms, 1.5s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * _SECONDS_IN_MS)}ms"
    if seconds < _MINUTE_S:
        return f"{math.ceil(seconds * 10) / 10:g}s"
    return f"{int(seconds) // _MINUTE_S}m{int(seconds) % _MINUTE_S}s"


class RateBucket:
    """Fills evenly, holds `per_minute` at the most. What was taken may exceed what was there; then it fills up from
    below nothing."""

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
        """Until one more may be taken; 0 = now."""
        self._fill()
        return max(0.0, (1 - self._level) / self._per_s)

    def reset_s(self) -> float:
        """Until the whole minute's worth is there again."""
        self._fill()
        return (self.per_minute - self._level) / self._per_s

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._at) * self._per_s)
        self._at = now
