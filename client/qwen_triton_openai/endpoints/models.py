"""GET /v1/models: the names that may be asked for, and nothing else that Triton holds."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from ..service import Shim, shim_of

router = APIRouter(tags=["OpenAI"])


def _model(name: str, shim: Shim) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": shim.started, "owned_by": "qwen-triton"}


@router.get("/v1/models", operation_id="list_models")
async def list_models(request: Request) -> dict[str, Any]:
    """The models that may be asked for."""
    shim = shim_of(request)
    return {"object": "list", "data": [_model(name, shim) for name in shim.settings.models]}


@router.get("/v1/models/{model:path}", operation_id="retrieve_model")
async def retrieve_model(model: str, request: Request) -> dict[str, Any]:
    """One of them."""
    shim = shim_of(request)
    shim.triton_model(model)
    return _model(model, shim)
