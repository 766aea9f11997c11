"""Notices that a client has left, and lets go of its requests at once."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from starlette.types import Receive


class ClientGone(Exception):
    """The client closed its connection before it had its answer."""


@contextlib.asynccontextmanager
async def watching(receive: Receive, on_gone: Callable[[], None]) -> AsyncIterator[Callable[[], bool]]:
    """Calls `on_gone` when the client leaves; gives a function that says whether it has. The body has been read."""
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        on_gone()

    task = asyncio.create_task(watch())
    try:
        yield lambda: gone
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
