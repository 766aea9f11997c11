"""What is under way at the text model: one request, or several prompts read as one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from qwen_triton.tensors.pieces import Piece


class Generation(Protocol):
    """One request under way at the text model."""

    async def read(self) -> list[Piece]:
        """What has arrived, waiting for some; empty at the end. Raises a QwenTritonError."""

    def cancel(self) -> None:
        """Takes the request back; does nothing once it has ended."""


class PromptGenerations:
    """The generations of several prompts, `n` sequences each: sequence s of prompt p is sequence p * n + s here."""

    def __init__(self, generations: Sequence[Generation], n: int) -> None:
        self._generations = generations
        self._n = n
        self._reads = {asyncio.ensure_future(g.read()): p for p, g in enumerate(generations)}

    async def read(self) -> list[Piece]:
        found: list[Piece] = []
        while self._reads and not found:
            done, _ = await asyncio.wait(self._reads, return_when=asyncio.FIRST_COMPLETED)
            for reading in done:
                prompt = self._reads.pop(reading)
                if pieces := reading.result():
                    found += [p._replace(sequence=prompt * self._n + p.sequence) for p in pieces]
                    self._reads[asyncio.ensure_future(self._generations[prompt].read())] = prompt
        return found

    def cancel(self) -> None:
        for generation in self._generations:
            generation.cancel()
        for reading in self._reads:
            reading.add_done_callback(_forget)


def _forget(reading: asyncio.Future[list[Piece]]) -> None:
    """Nobody asks any more how it ended."""
    if not reading.cancelled():
        reading.exception()
