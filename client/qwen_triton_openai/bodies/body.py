"""Checks a request's JSON body against the table of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from ..errors import ApiError, bad_request
from ..service import note_caller, service_of
from .body_parameter import CHAT, COMPLETIONS, COUNT_TOKENS, MESSAGES, RESPONSES, BodyParameter
from .tables import parameters_of


def _model(name: str, endpoint: str) -> type[BaseModel]:
    fields: dict[str, Any] = {
        p.name: (p.kind, Field(description=p.text))
        if p.required
        else (p.kind | None, Field(default=None, description=p.text))
        for p in parameters_of(endpoint)
    }
    return create_model(name, __config__=ConfigDict(extra="forbid", strict=True), **fields)


_NAMES = {
    CHAT: "ChatCompletionRequest",
    COMPLETIONS: "CompletionRequest",
    RESPONSES: "ResponseRequest",
    MESSAGES: "MessageRequest",
    COUNT_TOKENS: "CountTokensRequest",
}
BODIES = {endpoint: _model(name, endpoint) for endpoint, name in _NAMES.items()}


async def read_json(request: Request) -> Any:
    """The body as a JSON value. Raises ApiError."""
    try:
        return orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not JSON: {error}", code="invalid_json") from None


Model = TypeVar("Model", bound=BaseModel)


async def read_model(request: Request, kind: type[Model]) -> Model:
    """The body as a pydantic model. Raises ApiError naming the field at fault."""
    body = check_object(await read_json(request))
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _fault(error, list(kind.model_fields), body) from None


def check_object(body: Any) -> dict[str, Any]:
    """The body if it is a JSON object. Raises ApiError."""
    if not isinstance(body, dict):
        raise bad_request(f"the body must be a JSON object, got {type(body).__name__}", code="invalid_type")
    return body


async def read_given(request: Request, endpoint: str) -> dict[str, Any]:
    """The given parameters of a completion, by name. Raises ApiError naming the parameter at fault.

    Where the operator has chosen so, parameters that would be refused by name are left out and noted in the scope: the
    response's header and the access log name them (see middleware/observe).
    """
    body = check_object(await read_json(request))
    if service_of(request).settings.unknown_parameters == "ignore" and (ignored := ignored_names(body, endpoint)):
        request.scope["record"].ignored = ignored
        body = {name: value for name, value in body.items() if name not in ignored}
    given = check_parameters(body, endpoint)
    note_caller(request, given)
    return given


def check_parameters(body: Any, endpoint: str) -> dict[str, Any]:
    """The parameters of a decoded body that have a bearing on the request, by name; a null counts as not given.

    Raises ApiError naming the parameter at fault.
    """
    present = {name: value for name, value in check_object(body).items() if value is not None}
    try:
        checked = BODIES[endpoint].model_validate(present)
    except ValidationError as error:
        raise _fault(error, [p.name for p in parameters_of(endpoint)], present) from None
    given = {name: getattr(checked, name) for name in present}
    for parameter in parameters_of(endpoint):
        if parameter.handling == "neutral" and parameter.name in given:
            _refuse(parameter, given.pop(parameter.name))
    return given


def _refuse(parameter: BodyParameter, value: Any) -> None:
    if value not in parameter.neutral:
        raise bad_request(f"{parameter.name}: {parameter.text}; leave it out", parameter.name, "unsupported_parameter")


def ignored_names(body: Mapping[str, Any], endpoint: str) -> list[str]:
    """The parameters of a body that are refused by name: in no row of the table, or with a value that is not neutral."""
    rows = {p.name: p for p in parameters_of(endpoint)}
    return [name for name, value in body.items() if value is not None and not _is_taken(rows.get(name), value)]


def _is_taken(row: BodyParameter | None, value: Any) -> bool:
    return row is not None and (row.handling != "neutral" or value in row.neutral)


def _fault(error: ValidationError, known: Sequence[str], body: Mapping[str, Any]) -> ApiError:
    """The first fault of a body, worded as OpenAI words it where OpenAI has that error."""
    fault = error.errors(include_url=False)[0]
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        close = get_close_matches(name[:200], known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        return bad_request(f"Unknown parameter: '{name[:200]}'{hint}", name[:200], "unknown_parameter")
    if fault["type"] == "missing":
        return bad_request(f"Missing required parameter: '{name}'", name, "missing_required_parameter")
    path = name + "".join(f"[{part}]" for part in fault["loc"][1:] if isinstance(part, int))
    if isinstance(value := body.get(name), dict) and len(fault["loc"]) > 1 and fault["loc"][1] in value:
        path = f"{name}.{str(fault['loc'][1])[:200]}"
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return bad_request(f"{path}: {message}", path, "invalid_type" if "type" in fault["type"] else "invalid_value")
