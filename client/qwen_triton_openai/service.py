"""What all endpoints share: settings, the way to Triton, the models' pulses, and whether the shim is leaving."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.requests import Request

from qwen_triton.errors import QwenTritonError
from qwen_triton.types import GenerateRequest

from .answers.answering import Answering
from .backend.generation import Generation, PromptGenerations
from .backend.readiness import ModelReadiness
from .backend.triton import Backend
from .errors import ApiError, from_line
from .middleware.drain import Drain
from .observer import Observer, Observers
from .settings import ShimSettings


class Shim:
    """One process's state; nothing in it outlives a connection."""

    def __init__(self, settings: ShimSettings, backend: Backend, drain: Drain) -> None:
        self.settings = settings
        self.backend = backend
        self.drain = drain
        self.started = int(time.time())
        self.pulses = {
            model: ModelReadiness(backend, model, settings) for model in dict.fromkeys(settings.models.values())
        }

    def triton_model(self, name: str) -> str:
        """The Triton model that is served under a name. Raises ApiError, as OpenAI does, for another name."""
        model = self.settings.models.get(name)
        if model is None:
            served = ", ".join(self.settings.models)
            raise ApiError(
                404,
                f"The model '{name[:200]}' does not exist; served here: {served}",
                param="model",
                code="model_not_found",
            )
        return model

    async def answer(
        self, request: Request, name: str, asked: Sequence[GenerateRequest], names: Mapping[str, str]
    ) -> Answering:
        """Sends the requests of one HTTP request. `names`: what the endpoint calls the line's parameters."""
        model = self.triton_model(name)
        observer: Observer = self.pulses[model]
        if listening := request.scope.get("observer"):
            observer = Observers(observer, listening)
        observer.asked(name, asked[0].stream, asked[0].sampling.n)
        return Answering(await self._generate(request, model, asked, names), observer, names)

    async def _generate(
        self, request: Request, model: str, asked: Sequence[GenerateRequest], names: Mapping[str, str]
    ) -> Generation:
        request_id = request.scope.get("request_id") or secrets.token_hex(12)
        metadata = request.scope.get("triton_metadata", ())
        sent: list[Generation] = []
        try:
            for each in asked:
                sent.append(await self.backend.generate(model, each, request_id=request_id, metadata=metadata))
        except QwenTritonError as error:
            for generation in sent:
                generation.cancel()
            raise from_line(error, names) from error
        return sent[0] if len(sent) == 1 else PromptGenerations(sent, asked[0].sampling.n)


def note_caller(request: Request, given: Mapping[str, Any]) -> None:
    """Leaves for the access log what a caller says of itself; it has no bearing on the answer."""
    request.scope["caller_notes"] = {name: given[name] for name in ("user", "metadata") if name in given}


def shim_of(request: Request) -> Shim:
    shim = request.app.state.shim
    assert isinstance(shim, Shim)
    return shim
