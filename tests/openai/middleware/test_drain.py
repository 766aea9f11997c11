"""Graceful shutdown: notice, refusal, and the bound on what still runs."""

from __future__ import annotations

import asyncio
from typing import Any

from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton_openai.middleware.drain import Drain, DrainMiddleware
from tests.support.fake_triton import FakeTriton


def test_leaving_in_order() -> None:
    """Not ready at once, new work while the notice runs, then none, and what was accepted finishes."""
    triton = FakeTriton([TextPiece("x")], endless=True)

    async def run() -> None:
        drain = Drain()
        started, statuses = asyncio.Event(), []

        async def app(*_: Any) -> None:
            started.set()
            await asyncio.sleep(0.2)

        async def send(message: Any) -> None:
            statuses.append(message.get("status"))

        gate = DrainMiddleware(app, drain)
        scope = {"type": "http", "path": "/v1/completions", "method": "POST"}
        accepted = asyncio.create_task(gate(scope, None, send))  # type: ignore[arg-type]  # nothing is received
        await started.wait()
        leaving = asyncio.create_task(drain.leave(notice_s=0.05, drain_s=5))
        await asyncio.sleep(0.01)
        assert (drain.leaving, drain.refusing, drain.in_flight) == (True, False, 1)
        await asyncio.sleep(0.1)
        await gate(scope, None, send)  # type: ignore[arg-type]
        assert (drain.refusing, statuses[0]) == (True, 503)
        assert await leaving
        assert accepted.done()

    asyncio.run(run())
    assert triton.sent == []


def test_leaving_has_a_bound() -> None:
    """A request that does not end does not keep the process."""

    async def run() -> bool:
        drain = Drain()
        drain.begin()
        return await drain.leave(0, 0.02)

    assert asyncio.run(run()) is False
