"""Whether a model generates: seen in the answers that pass, asked for one token when none has passed lately."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from qwen_triton.errors import QwenTritonError
from qwen_triton.types import GenerateRequest, SamplingParams

from .pieces import Piece
from .settings import ShimSettings
from .triton import Backend

_PROBE = GenerateRequest(prompt="1", prompt_format="raw", sampling=SamplingParams(max_tokens=1, temperature=0.0))


class Pulse:
    """The last sign of life of one Triton model. As an observer it hears the answers that pass."""

    def __init__(self, backend: Backend, model: str, settings: ShimSettings) -> None:
        self._backend = backend
        self._model = model
        self._settings = settings
        self._last = float("-inf")
        self._probing = asyncio.Lock()

    def asked(self, model: str, streamed: bool, n: int) -> None:
        """Nothing is heard yet."""

    def heard(self, pieces: Sequence[Piece]) -> None:
        if pieces:
            self._last = time.monotonic()

    async def fault(self) -> str:
        """Why the model cannot be used, '' when it can. One probe at a time, whoever asks."""
        if not await self._backend.ready(self._model):
            return f"{self._model}: Triton or the model is not ready"
        async with self._probing:
            if self._recent():
                return ""
            try:
                await asyncio.wait_for(self._probe(), self._settings.probe_timeout_s)
            except (QwenTritonError, asyncio.TimeoutError) as error:
                return f"{self._model}: no token came: {str(error) or 'it took too long'}"
        return ""

    def _recent(self) -> bool:
        return time.monotonic() - self._last < self._settings.probe_every_s

    async def _probe(self) -> None:
        generation = await self._backend.generate(self._model, _PROBE, request_id="readiness")
        try:
            while pieces := await generation.read():
                self.heard(pieces)
        finally:
            generation.cancel()
