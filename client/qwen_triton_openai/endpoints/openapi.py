"""The OpenAPI document: FastAPI's, completed by the bodies that endpoints read themselves and by each API's error object."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from ..bodies.body import BODIES
from ..bodies.body_parameter import CHAT, COMPLETIONS, COUNT_TOKENS, MESSAGES, RESPONSES
from ..errors import is_messages_path
from .tokenization import DetokenizeRequest, TokenizeRequest

_BODIES: dict[str, type[BaseModel]] = {
    "/v1/chat/completions": BODIES[CHAT],
    "/v1/completions": BODIES[COMPLETIONS],
    "/v1/responses": BODIES[RESPONSES],
    "/v1/messages": BODIES[MESSAGES],
    "/v1/messages/count_tokens": BODIES[COUNT_TOKENS],
    "/tokenize": TokenizeRequest,
    "/detokenize": DetokenizeRequest,
}
_REF = "#/components/schemas/"
_NULLABLE = {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": _NULLABLE,
                "code": _NULLABLE,
            },
        }
    },
}
_MESSAGES_ERROR = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
        "request_id": {"type": "string"},
    },
}


def add_document(app: FastAPI) -> None:
    """Makes the application serve the completed document."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's own way to extend it


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"Error": _ERROR, "MessagesError": _MESSAGES_ERROR}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _complete(operation, _BODIES.get(path), schemas, "MessagesError" if is_messages_path(path) else "Error")
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    return document


def _complete(operation: dict[str, Any], body: type[BaseModel] | None, schemas: dict[str, Any], error: str) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    responses["default"] = {"description": "An error", "content": _json({"$ref": _REF + error})}
    if body is not None:
        schema = body.model_json_schema(ref_template=_REF + "{model}")
        schemas |= schema.pop("$defs", {})
        schemas[body.__name__] = schema
        operation["requestBody"] = {"required": True, "content": _json({"$ref": _REF + body.__name__})}
    if "stream" in (body.model_fields if body else ()):
        responses["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
