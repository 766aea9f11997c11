"""Endpoint GET /v1/models: the served names alone, adapters among them, not the other models of the Triton."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ..service import Service, service_of

router = APIRouter(tags=["OpenAI"])


async def _model(name: str, service: Service) -> dict[str, Any]:
    """A model in OpenAI's form, with vLLM's `max_model_len` while the server can be asked for it.

    An adapter has the name of its model as `parent` and `root`. (vLLM's `root` is the adapter's folder.)
    """
    model: dict[str, Any] = {"id": name, "object": "model", "created": service.created, "owned_by": "qwen-triton"}
    if parent := service.settings.adapters.get(name):
        model |= {"root": parent, "parent": parent}
    context = await service.context.tokens()
    return model if context is None else {**model, "max_model_len": context}


@router.get("/v1/models", operation_id="list_models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models that may be asked for."""
    service = service_of(request)
    settings = service.settings
    return {"object": "list", "data": [await _model(name, service) for name in (*settings.models, *settings.adapters)]}


@router.get("/v1/models/{model:path}", operation_id="retrieve_model")
async def retrieve_model(model: str, request: Request) -> dict[str, Any]:
    """One of them."""
    service = service_of(request)
    service.triton_model(model)
    return await _model(model, service)
