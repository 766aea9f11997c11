"""Endpoint POST /v1/responses, stateless: what there was before is in the request, and nothing is stored."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from ..answers.blocks import BlockReader
from ..answers.response import EventStream, whole
from ..answers.response_object import ResponseObject
from ..answers.response_writer import ResponseWriter
from ..answers.usage import UsageCount
from ..bodies.body import read_given
from ..bodies.body_parameter import RESPONSES
from ..bodies.forms import with_form_name
from ..bodies.responses.plan import NAMES, namespaces_of, plan_response, request_fields, without_hosted_tools
from ..errors import ApiError
from ..service import service_of

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/responses", operation_id="create_response")
async def create_response(request: Request) -> Response:
    """A response, whole or streamed."""
    service = service_of(request)
    given = await read_given(request, RESPONSES)
    service.triton_model(given["model"])
    if service.settings.unknown_parameters == "ignore":
        given, left_out = without_hosted_tools(given)
        record = request.scope["record"]
        record.ignored = [*record.ignored, *left_out]
    plan = plan_response(given, service.settings)
    fields = request_fields(given, service.settings)
    reader = await service.answer(request, given["model"], [plan.request], with_form_name(NAMES, given))
    usage = UsageCount(1)
    blocks = BlockReader(plan.new_choice(), always_text=True)
    response = ResponseObject(fields, blocks, usage, namespaces_of(given))
    if not plan.request.stream:
        return await whole(request, reader, response.whole)
    return EventStream(reader, ResponseWriter(response, usage), service.settings.keep_alive_s)


@router.get("/v1/responses/{response_id}", operation_id="retrieve_response")
async def retrieve_response(response_id: str) -> Response:
    """404: nothing is stored."""
    raise _not_stored(response_id)


@router.delete("/v1/responses/{response_id}", operation_id="delete_response")
async def delete_response(response_id: str) -> Response:
    """404: nothing is stored."""
    raise _not_stored(response_id)


def _not_stored(response_id: str) -> ApiError:
    message = f"Response with id '{response_id[:100]}' not found: this server stores none, it is whole in its answer"
    return ApiError(404, message, param="response_id", code="not_found")
