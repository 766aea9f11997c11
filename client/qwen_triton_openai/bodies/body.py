"""Checks a request's JSON body against the table of parameters."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic_core import ErrorDetails

from ..errors import ApiError, bad_request
from ..middleware.body_limit import BufferedReceive
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
    receive = request.receive
    body = receive.take() if isinstance(receive, BufferedReceive) else await request.body()
    body = body.removeprefix(BOM_UTF8)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"the body is not JSON: {_reason(body) or error}", code="invalid_json") from None


_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
"""The first bytes of a compressed body → its Content-Encoding."""


def _reason(body: bytes) -> str:
    """Why a body is no text; empty if it is one."""
    for magic, encoding in _COMPRESSED.items():
        if body.startswith(magic):
            return f"it looks like {encoding}; send Content-Encoding: {encoding} with it"
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start} is not UTF-8; send the body as UTF-8, whatever charset its Content-Type names"
    return ""


Model = TypeVar("Model", bound=BaseModel)


async def read_model(request: Request, kind: type[Model]) -> Model:
    """The body as a pydantic model. Raises ApiError naming the field at fault."""
    body = check_object(await read_json(request))
    _check_names(body, kind.model_fields)
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _fault(error, body) from None


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
    _check_names(present, BODIES[endpoint].model_fields)
    try:
        checked = BODIES[endpoint].model_validate(present)
    except ValidationError as error:
        raise _fault(error, present) from None
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


def _check_names(body: Mapping[str, Any], known: Collection[str]) -> None:
    """Raises ApiError for the first name that no parameter has."""
    name = next((name for name in body if name not in known), None)
    if name is not None:
        close = get_close_matches(name[:200], known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise bad_request(f"Unknown parameter: '{name[:200]}'{hint}", name[:200], "unknown_parameter")


def _fault(error: ValidationError, body: Mapping[str, Any]) -> ApiError:
    """The first fault of a body, worded as OpenAI words it where OpenAI has that error."""
    faults = error.errors(include_url=False)
    fault, name = faults[0], str(faults[0]["loc"][0])
    if fault["type"] == "missing":
        return bad_request(f"Missing required parameter: '{name}'", name, "missing_required_parameter")
    places: dict[tuple[str | int, ...], list[ErrorDetails]] = {}
    for one in faults:
        if one["loc"][0] == name:
            places.setdefault(_place(one, body.get(name)), []).append(one)
    place = max(places, key=lambda place: (len(place), place))  # where the value came closest to one of its types
    path = name + "".join(f"[{part}]" if isinstance(part, int) else f".{part[:200]}" for part in place)
    code = "invalid_type" if "type" in places[place][0]["type"] else "invalid_value"
    return bad_request(f"{path}: {_message(places[place])}", path, code)


def _place(fault: ErrorDetails, value: Any) -> tuple[str | int, ...]:
    """Where in a parameter's value a fault is: indices, and the key of an object; a union's types are names too, left out."""
    keys = value if isinstance(value, dict) else ()
    return tuple(part for part in fault["loc"][1:] if isinstance(part, int) or part in keys)


def _message(faults: Sequence[ErrorDetails]) -> str:
    """What is wrong at one place: one fault for each type that a value there may have."""
    messages = dict.fromkeys(fault["msg"][0].lower() + fault["msg"][1:] for fault in faults)
    first, *others = messages
    return " or ".join([first, *(other.removeprefix("input should be ") for other in others)])
