"""Readiness of a model: seen in the answers that pass, probed with a request for one token when none has passed lately."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import GenerateRequest, SamplingParams

from ..settings import ShimSettings
from .triton import Backend

_log = logging.getLogger(__name__)

_PROBE = GenerateRequest(prompt="1", prompt_format="raw", sampling=SamplingParams(max_tokens=1, temperature=0.0))


class ModelReadiness:
    """Readiness of one Triton model. An `Observer`: pieces of any answer show that the model generates."""

    def __init__(self, backend: Backend, model: str, settings: ShimSettings) -> None:
        self._backend = backend
        self._model = model
        self._settings = settings
        self._last = float("-inf")
        self._probing = asyncio.Lock()
        self._logged = ""

    def on_request(self, model: str, streamed: bool, n: int) -> None:
        """A request alone shows nothing."""

    def on_pieces(self, pieces: Sequence[TextPiece]) -> None:
        if pieces:
            self._last = time.monotonic()

    async def fault(self) -> str:
        """Why the model cannot be used, '' when it can; logged when it changes. Concurrent callers share one probe."""
        found = await self._find_fault()
        if found and found != self._logged:
            _log.warning("not ready: %s", found)
        self._logged = found
        return found

    async def _find_fault(self) -> str:
        if fault := await self._backend.fault(self._model):
            return f"{self._model}: {fault}"
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
                self.on_pieces(pieces)
        finally:
            generation.cancel()
