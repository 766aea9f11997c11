"""What tests do with a generation that is under way."""

from __future__ import annotations

import asyncio

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
