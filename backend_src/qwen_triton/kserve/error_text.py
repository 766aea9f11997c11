"""Finds the kind of an error by its text, where Triton sends no code: on gRPC streams, and over HTTP (always 400).

Codes on gRPC streams (metadata `triton_grpc_error`) cannot be asked for, because a stream that ended with one makes
tritonserver 2.51.0 end with a segmentation fault when its connection is closed.
"""

from __future__ import annotations

import re

from ..errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable

_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")
_FIELD = re.compile(r"[A-Za-z_]\w*(?:[.\[].*?)?: ", re.DOTALL)
"""The parameter at fault, with the path into it, whose keys the caller has chosen: they may have any characters and words."""
_UNAVAILABLE = ("try again", "shutting down", "maximum queue size", "timeout expired", "not ready", "unavailable")
_INVALID = ("Request for unknown model", "inference input", "inference request", "expected ", "unexpected ")
_CANCELLED = "request was cancelled"
_INTERNAL = "internal error;"


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
