"""Endpoints GET /health (the process lives) and GET /health/ready (a request sent now would be answered)."""

from __future__ import annotations

from fastapi import APIRouter, Request

from ..errors import ApiError, Json
from ..service import service_of

router = APIRouter(tags=["health"])


@router.get("/health", operation_id="health")
async def health() -> Json:
    """200 while the process answers."""
    return Json({"status": "ok"})


@router.get("/health/ready", operation_id="ready")
async def ready(request: Request) -> Json:
    """200 when Triton is ready and each model has made a token lately or now; 503 with the reason otherwise."""
    service = service_of(request)
    if service.drain.leaving:
        raise ApiError(503, "this server is shutting down", code="shutting_down")
    for readiness in service.readiness.values():
        if fault := await readiness.fault():
            raise ApiError(503, fault, code="not_ready")
    return Json({"status": "ready"})
