"""The kind of an error by its text: what a caller chose within it does not change its kind."""

from __future__ import annotations

import pytest

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.kserve.status import error_of


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("max_tokens: must be in [1, 2147483647], got 0", InvalidRequest),
        ("in ensemble 'ensemble', max_tokens: must be in [1, 2147483647], got 0", InvalidRequest),
        ("messages[0].role: must be one of system, user", InvalidRequest),
        ("chat_template_kwargs.-1: leave it out", InvalidRequest),
        ("chat_template_kwargs.a b:c'\n: leave it out", InvalidRequest),
        ("chat_template_kwargs.try again: leave it out", InvalidRequest),
        ("chat_template_kwargs.request was cancelled: leave it out", InvalidRequest),
        ("Request for unknown model: 'x' is not found", InvalidRequest),
        ("the engine's process ended while it answered; it is being started again, try again", Unavailable),
        ("the engine's model is out of reach: its process has ended; try again", Unavailable),
        ("the server is shutting down; try again", Unavailable),
        ("the request was cancelled", Cancelled),
        ("internal error; the server's log has the cause under request abc", EngineError),
        ("a fault that nobody knows: of any kind", EngineError),
    ],
)
def test_the_kind_of_an_error_is_found(text: str, kind: type[QwenTritonError]) -> None:
    error = error_of(text)
    assert (type(error), str(error)) == (kind, text)
