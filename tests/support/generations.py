"""What tests do with a generation that is under way, and what they wait for on its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from qwen_triton.errors import Cancelled
from qwen_triton_openai.backend.generation import Generation


async def take_back(generation: Generation) -> None:
    """Takes it back, twice, while its reader waits: the reader is told at once."""
    reading = asyncio.ensure_future(generation.read())
    await asyncio.sleep(0.02)
    generation.cancel()
    generation.cancel()
    with pytest.raises(Cancelled):
        await reading


async def text_of(generation: Generation) -> str:
    """The text of all pieces until the end."""
    found: list[str] = []
    while pieces := await generation.read():
        found += [piece.text for piece in pieces]
    return "".join(found)


async def until(holds: Callable[[], bool]) -> None:
    """Returns once it holds; the test has a bound of its own."""
    while not holds():
        await asyncio.sleep(0.005)
