"""Errors in OpenAI's form, `{"error": {"message", "type", "param", "code"}}` with OpenAI's status codes; on the paths of
Anthropic's API in that one's: `{"type": "error", "error": {"type", "message"}, "request_id"}`.

Maps every error of the shim, whether the framework, a parameter check or the model raised it. Knows no endpoint.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from qwen_triton.errors import (
    CONTEXT_EXCEEDED,
    Cancelled,
    EngineError,
    InvalidRequest,
    QwenTritonError,
    Unavailable,
)
from qwen_triton.tensors.contract import (
    EMBEDDING_BIAS,
    EMBEDDING_BIAS_WORDS,
    NUM_RETURN_SEQUENCES,
    RETURN_LOG_PROBS,
    STOP_WORDS,
)

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 1
CLIENT_CLOSED_REQUEST = 499
"""nginx's status for a client that disconnected before its response. Only the access log and metrics show it."""

_NAMES = {
    STOP_WORDS: "stop",
    NUM_RETURN_SEQUENCES: "n",
    EMBEDDING_BIAS: "logit_bias",
    EMBEDDING_BIAS_WORDS: "logit_bias",
    RETURN_LOG_PROBS: "logprobs",
}
"""The model's name of a parameter → OpenAI's. All others have one name."""
_FIELD = re.compile(r"^([a-z_]+)((?:[.\[].*?)?): ", re.DOTALL)
_HEAD = re.compile(r"[a-z_]+")
_CONTEXT = re.compile("the context of|the context is")


_MESSAGES_PATH = "/v1/messages"
_MESSAGES_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}
"""By status, the `type` of an error in Anthropic's form; of others it is invalid_request_error or api_error."""


def is_messages_path(path: str) -> bool:
    """Whether a path belongs to Anthropic's API."""
    return path == _MESSAGES_PATH or path.startswith(_MESSAGES_PATH + "/")


class ApiError(Exception):
    """An error response. `param`: the parameter at fault; `kind`: OpenAI's `type`, by default that of the status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param
        self.code = code
        self.kind = kind or _kind(status)
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}

    def messages_body(self, request_id: str) -> dict[str, Any]:
        """The same in the form of Anthropic's API, which has no place for the parameter: the message names it."""
        other = "api_error" if self.status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
        error = {"type": _MESSAGES_KINDS.get(self.status, other), "message": self.message}
        return {"type": "error", "error": error, "request_id": request_id}

    def response(self) -> ErrorResponse:
        return ErrorResponse(self)

    def renamed(self, names: Mapping[str, str]) -> ApiError:
        """The same error in an endpoint's words: the name that `param` begins with by `names`, and so in the message."""
        head = _HEAD.match(self.param or "")
        if self.param is None or head is None or head[0] not in names:
            return self
        param = names[head[0]] + self.param[head.end() :]
        message = self.message
        if message.startswith(self.param):
            message = param + message[len(self.param) :]
        return ApiError(self.status, message, param=param, code=self.code, kind=self.kind, headers=self.headers)


def _kind(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "rate_limit_error"
    return "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"


def bad_request(message: str, param: str | None = None, code: str | None = "invalid_value") -> ApiError:
    """A 400 that names the parameter at fault."""
    return ApiError(400, message, param=param, code=code)


def to_api_error(error: QwenTritonError, names: Mapping[str, str]) -> ApiError:
    """An error of the models behind. `names`: this endpoint's word for the model's words, beside those all share."""
    if isinstance(error, InvalidRequest):
        return _invalid(str(error), {**_NAMES, **names})
    if isinstance(error, Unavailable):
        return ApiError(503, str(error), code="overloaded", headers={"Retry-After": str(RETRY_AFTER_S)})
    if isinstance(error, Cancelled):
        return ApiError(503, "the server took the request back; try again", code="cancelled")
    if isinstance(error, EngineError):
        return ApiError(500, str(error), code="internal_error")
    return ApiError(500, "internal error; the server's log has the cause", code="internal_error")


def _invalid(message: str, names: Mapping[str, str]) -> ApiError:
    found = _FIELD.match(message)
    if found is None:
        return bad_request(message)
    param = names.get(found[1], found[1]) + found[2]
    reason = message[found.end() :]
    if reason.startswith(CONTEXT_EXCEEDED):  # as OpenAI begins it: clients that shorten a conversation look there
        return bad_request(reason, param, "context_length_exceeded")
    code = "context_length_exceeded" if _CONTEXT.search(message) else "invalid_value"
    return bad_request(f"{param}: {reason}", param, code)


def install(app: FastAPI) -> None:
    """Registers handlers, so that every expected error of the application is answered in OpenAI's form; of the others
    ObserveMiddleware does that."""
    app.add_exception_handler(ApiError, _known_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(RecursionError, _known_error)


def known_response(error: Exception) -> Json | None:
    """The response to an error that an endpoint raises on purpose; None for any other."""
    if isinstance(error, ApiError):
        return error.response()
    if isinstance(error, RecursionError):  # the parser took a body that is too deep for its values to be written again
        return bad_request("the body is nested too deeply; send flatter values").response()
    return None


async def _known_error(_: Request, error: Exception) -> Json:
    response = known_response(error)
    assert response is not None
    return response


async def _http_error(request: Request, error: Exception) -> Json:
    assert isinstance(error, HTTPException)
    path, message = request.url.path, str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        message = f"Unknown request URL: {request.method} {path}; {_remedy(request.app, path)}"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"Not allowed to {request.method} on {path}"
    code = {404: "unknown_url", 405: "method_not_supported"}.get(error.status_code)
    return ApiError(error.status_code, message, code=code, headers=error.headers).response()


def _remedy(app: FastAPI, path: str) -> str:
    """What to do about an unknown path: one that ends as a known one has another base URL before it than clients need."""
    ends = (known for known in app.openapi()["paths"] if "{" not in known and path.endswith(known.removeprefix("/v1")))
    known = next(ends, None)
    return f"did you mean {known}?" if known else "see /docs for the ones there are"


async def _validation_error(_: Request, error: Exception) -> Json:
    assert isinstance(error, RequestValidationError)
    fault = error.errors()[0]
    return bad_request(fault["msg"], ".".join(map(str, fault["loc"][1:])) or None).response()


class Json(Response):
    """Any JSON value as a response."""

    media_type = "application/json"

    def __init__(self, content: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        super().__init__(content, status, headers)

    def render(self, content: Any) -> bytes:
        return escaped_lines(orjson.dumps(content))


class ErrorResponse(Json):
    """An error in the form that the API of the request's path has."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.body, error.status, error.headers)
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_messages_path(scope["path"]):
            self.body = self.render(self._error.messages_body(scope.get("request_id", "")))
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


_LINES = tuple((char.encode(), f"\\u{ord(char):04x}".encode()) for char in "\u2028\u2029\x85")
"""Characters at which many readers of lines split, and how JSON writes them without them."""


def escaped_lines(json: bytes) -> bytes:
    """JSON, or events of it, that readers of lines do not split within: such characters stand in strings only. Hot."""
    if not json.isascii():
        for char, escape in _LINES:
            if char in json:
                json = json.replace(char, escape)
    return json
