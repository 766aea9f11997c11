"""What kind of error a text from Triton is, for the ways that bring no code: gRPC streams, and HTTP, which always says 400.

Asking for codes on gRPC streams (metadata `triton_grpc_error`) is no way out: a stream that ended so makes tritonserver
2.51.0 end with a segmentation fault when its connection is closed.
"""

from __future__ import annotations

import re

from ..errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable

_ENSEMBLE = re.compile(r"^in ensemble '[^']*', ")
_FIELD = re.compile(r"[A-Za-z_][\w.\[\]]*: ")
_UNAVAILABLE = ("try again", "shutting down", "maximum queue size", "timeout expired", "not ready", "unavailable")
_INVALID = ("Request for unknown model", "inference input", "inference request", "expected ", "unexpected ")
_CANCELLED = "request was cancelled"
_OURS = "internal error;"


def error_of(text: str) -> QwenTritonError:
    """The error that was raised behind it, with the same text. What is recognised as neither the caller's fault nor as
    passing is EngineError."""
    said = _ENSEMBLE.sub("", text)
    if said.startswith(_OURS):
        return EngineError(text)
    if _CANCELLED in said:
        return Cancelled(text)
    if any(words in said for words in _UNAVAILABLE):
        return Unavailable(text)
    if _FIELD.match(said) or any(words in said for words in _INVALID):
        return InvalidRequest(text)
    return EngineError(text)
