"""Failure of a call: gRPC's status codes, ends that did not come from gRPC itself, and the kind of an error by its text.

Triton sends no code on gRPC streams, and over HTTP always 400. Codes on gRPC streams (metadata `triton_grpc_error`)
cannot be asked for, because a stream that ended with one makes tritonserver 2.51.0 end with a segmentation fault when its
connection is closed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from urllib.parse import unquote_to_bytes

from h2.errors import ErrorCodes

from ..errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable


class StatusCode(IntEnum):
    """gRPC's status codes by their numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_OF_HTTP = {
    b"400": StatusCode.INTERNAL,
    b"401": StatusCode.UNAUTHENTICATED,
    b"403": StatusCode.PERMISSION_DENIED,
    b"404": StatusCode.UNIMPLEMENTED,
    b"429": StatusCode.UNAVAILABLE,
    b"502": StatusCode.UNAVAILABLE,
    b"503": StatusCode.UNAVAILABLE,
    b"504": StatusCode.UNAVAILABLE,
}
_OF_RESET = {
    ErrorCodes.REFUSED_STREAM: StatusCode.UNAVAILABLE,
    ErrorCodes.CANCEL: StatusCode.CANCELLED,
    ErrorCodes.ENHANCE_YOUR_CALM: StatusCode.RESOURCE_EXHAUSTED,
    ErrorCodes.INADEQUATE_SECURITY: StatusCode.PERMISSION_DENIED,
}
"""As in gRPC's HTTP/2 mapping; any other reset is INTERNAL, any other HTTP status UNKNOWN."""
_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")
_FIELD = re.compile(r"[A-Za-z_]\w*(?:[.\[].*?)?: ", re.DOTALL)
"""The parameter at fault, with the path into it, whose keys the caller has chosen: they may have any characters and words."""
_UNAVAILABLE = ("try again", "shutting down", "maximum queue size", "timeout expired", "not ready", "unavailable")
_INVALID = ("Request for unknown model", "inference input", "inference request", "expected ", "unexpected ")
_CANCELLED = "request was cancelled"
_INTERNAL = "internal error;"


def status_of_headers(headers: Mapping[bytes, bytes]) -> tuple[StatusCode, str]:
    """Code and message of the headers that ended a call: its trailers, or the only headers of an answer without messages."""
    code = headers.get(b"grpc-status")
    if code is None:
        http = headers.get(b":status", b"200")
        reason = "without a gRPC status" if http == b"200" else f"with HTTP status {http.decode('ascii', 'replace')}"
        return _OF_HTTP.get(http, StatusCode.UNKNOWN), f"the call ended {reason}"
    message = unquote_to_bytes(headers.get(b"grpc-message", b"")).decode("utf-8", "replace")
    try:
        return StatusCode(int(code)), message
    except ValueError:
        return StatusCode.UNKNOWN, message


def status_of_reset(error: int) -> tuple[StatusCode, str]:
    """Code and message of an RST_STREAM frame's error code."""
    try:
        named = ErrorCodes(error)
    except ValueError:
        return StatusCode.INTERNAL, f"the call was reset with error {error}"
    return _OF_RESET.get(named, StatusCode.INTERNAL), f"the call was reset with {named.name}"


class CallError(Exception):
    """A call that did not end with OK."""

    def __init__(self, code: StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


class ConnectError(CallError):
    """No connection could be made; the message is the reason («connection refused»)."""

    def __init__(self, reason: str) -> None:
        super().__init__(StatusCode.UNAVAILABLE, reason)


def error_of(text: str) -> QwenTritonError:
    """The error that the server raised, with the same text; EngineError where the text has no sign of another kind."""
    reason = _ENSEMBLE.sub("", text)
    if reason.startswith(_INTERNAL):
        return EngineError(text)
    if _FIELD.match(reason):
        return InvalidRequest(text)
    if _CANCELLED in reason:
        return Cancelled(text)
    if any(words in reason for words in _UNAVAILABLE):
        return Unavailable(text)
    if any(words in reason for words in _INVALID):
        return InvalidRequest(text)
    return EngineError(text)
