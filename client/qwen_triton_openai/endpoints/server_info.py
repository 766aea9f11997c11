"""Endpoints GET /version, /ping and /load, which tools for vLLM's server ask for."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from fastapi import APIRouter, Request

from ..errors import Json
from ..service import service_of
from .health import ready

router = APIRouter(tags=["server"])


@router.get("/version", operation_id="version")
async def version_of_server() -> Json:
    """The version of this server's package."""
    try:
        return Json({"version": version("qwen-triton")})
    except PackageNotFoundError:  # run from a checkout without installing it
        return Json({"version": "unknown"})


@router.get("/ping", operation_id="ping")
@router.post("/ping", operation_id="ping_by_post")
async def ping(request: Request) -> Json:
    """As /health/ready; SageMaker asks here."""
    return await ready(request)


@router.get("/load", operation_id="load")
async def load(request: Request) -> Json:
    """How many requests to the APIs under /v1 run or wait in this shim."""
    return Json({"server_load": service_of(request).drain.in_flight})
