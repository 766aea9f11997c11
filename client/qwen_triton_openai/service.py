"""State that all endpoints share: settings, the backend, readiness of the models, and the drain."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from starlette.requests import Request

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.contract import LORA_NAME
from qwen_triton.tensors.limits import check_requests, sequences_of, too_many, utf8_bytes
from qwen_triton.types import GenerateRequest

from .answers.observer import Observer, Observers
from .answers.response import AnswerReader
from .backend.context_length import ContextLength
from .backend.generation import Generation, PromptGenerations
from .backend.readiness import ModelReadiness
from .backend.triton import Backend
from .errors import ApiError, bad_request, to_api_error
from .middleware.drain import Drain
from .middleware.observe import RequestRecord
from .settings import ShimSettings


class Service:
    """The state of one shim process. Keeps nothing of a request once it has ended."""

    def __init__(self, settings: ShimSettings, backend: Backend, drain: Drain) -> None:
        self.settings = settings
        self.backend = backend
        self.drain = drain
        self.created = int(time.time())
        self.context = ContextLength(backend, settings.preprocessing_model)
        self.readiness = {
            model: ModelReadiness(backend, model, settings) for model in dict.fromkeys(settings.models.values())
        }

    def triton_model(self, name: str) -> str:
        """The Triton model served as `name`, a model's or an adapter's. Raises ApiError (404, as OpenAI) for any other name."""
        settings = self.settings
        model = settings.models.get(settings.adapters.get(name, name))
        if model is None:
            served = ", ".join((*settings.models, *settings.adapters))
            raise ApiError(
                404,
                f"The model '{name[:200]}' does not exist; served here: {served}",
                param="model",
                code="model_not_found",
            )
        return model

    async def answer(
        self, request: Request, name: str, requests: Sequence[GenerateRequest], names: Mapping[str, str]
    ) -> AnswerReader:
        """Sends the requests of one HTTP request, one for each prompt, and returns the reader of their answer.

        `name`: the served model or adapter; `names`: the model's name of a parameter → the endpoint's. Raises ApiError.
        """
        model = self.triton_model(name)
        if name in self.settings.adapters:
            requests, names = [replace(one, lora_name=name) for one in requests], {**names, LORA_NAME: "model"}
        await self._admit(request, requests, names)
        observer: Observer = self.readiness[model]
        if record := request.scope.get("observer"):
            observer = Observers(observer, record)
        observer.on_request(name, requests[0].stream, requests[0].sampling.n)
        return AnswerReader(await self._generate(request, model, requests, names), observer, names)

    async def _admit(self, request: Request, requests: Sequence[GenerateRequest], names: Mapping[str, str]) -> None:
        """Returns when the request may generate. Raises ApiError for what is above a limit, of the table or of its key."""
        try:
            check_requests(requests, self.settings.limits)
        except QwenTritonError as error:
            raise to_api_error(error, names) from None
        sequences = sum(map(sequences_of, requests))
        if add_sequences := request.scope.get("add_sequences"):
            await add_sequences(sequences)
        if admission := request.scope.get("admission"):
            await admission.enter(sequences)

    async def _generate(
        self, request: Request, model: str, requests: Sequence[GenerateRequest], names: Mapping[str, str]
    ) -> Generation:
        name = request.scope.get("request_id", "")
        metadata = request.scope.get("triton_metadata", ())
        record: RequestRecord | None = request.scope.get("record")
        sent: list[Generation] = []
        try:
            for each in requests:
                # Callers may give several requests one id; the engine model refuses a second one under a running id.
                unique = f"{name}-{secrets.token_hex(4)}"
                begun = await self.backend.generate(model, each, request_id=unique, metadata=metadata)
                sent.append(begun)
                if record and (way := getattr(begun, "way", None)):  # those of other backends need not say it
                    record.ways.append(way)
        except QwenTritonError as error:
            for generation in sent:
                generation.cancel()
            raise to_api_error(error, names) from error
        return sent[0] if len(sent) == 1 else PromptGenerations(sent, requests[0].sampling.n)


def note_caller(request: Request, given: Mapping[str, Any]) -> None:
    """Leaves `user` and `metadata` in the scope for the access log. They do not affect the answer.

    Raises ApiError for what is above a limit.
    """
    limits, metadata = service_of(request).settings.limits, given.get("metadata", {})
    sizes = {
        "user_bytes": ("user", utf8_bytes((given.get("user", ""),))),
        "metadata": ("metadata", len(metadata)),
        "metadata_bytes": ("metadata", utf8_bytes((*metadata, *metadata.values()))),
    }
    for limit, (param, size) in sizes.items():
        if size > (most := getattr(limits, limit)):
            raise bad_request(f"{param}: {too_many(limit, size, most)}", param)
    request.scope["caller_notes"] = {name: given[name] for name in ("user", "metadata") if name in given}


def service_of(request: Request) -> Service:
    """The service of the application that handles a request."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service
