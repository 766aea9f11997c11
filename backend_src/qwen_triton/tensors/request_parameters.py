"""Request parameters: keys of a generate body that are no input of the model, which Triton passes on unchecked.

Almost all are misspelt inputs, such as `max_token`, so a key without a meaning to Triton is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from ..errors import InvalidRequest
from ..types import EngineRequest
from .contract import BLS, BLS_INPUTS

_OF_TRITON = frozenset(
    (
        *("id", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"),
        *("binary_data_output", "triton_enable_empty_final_response"),
    )
)
"""Keys that the server itself reads."""
_LONGEST_NAME = 128
_OF_STOCK = frozenset(("Streaming",))
"""Keys that stock's clients send and nothing reads: there, as here, the input `streaming` decides."""
CALL = "qwen_triton_call"
"""A request's name for CANCEL_CALL; unlike its id, random, so that nobody else can cancel it."""
CANCEL_CALL = "qwen_triton_cancel"
"""Ends the request whose CALL this is with finish «cancelled»; the request that has it is answered «cancelled»."""
CALL_PARAMETERS = frozenset((CALL, CANCEL_CALL))
_INPUTS = [tensor.name for tensor in BLS_INPUTS]


def check_parameters(names: Iterable[str], more: Collection[str] = ()) -> None:
    """Raises InvalidRequest for the first name without a meaning, with the input that is closest to it.

    `more`: names that have a meaning to this model besides those of Triton.
    """
    for name in names:
        if name in _OF_TRITON or name in _OF_STOCK or name in more:
            continue
        if name in _INPUTS:
            raise InvalidRequest(f"this model has no such input, {BLS} has; ask there or leave it out", name)
        shown = name[:_LONGEST_NAME]
        close = get_close_matches(shown, _INPUTS, 1)
        raise InvalidRequest(
            f"no input has this name; {f'did you mean {close[0]}?' if close else 'leave it out'}", shown
        )


def queue_timeout_s(own_us: int, parameters: Mapping[str, Any], most_ms: int) -> float | None:
    """The queue timeout of a request in seconds: the shortest of three that are set, None where none is.

    `own_us` is the request's own field in microseconds, `parameters` may have a `timeout` in microseconds, `most_ms` is the
    deployment's bound in milliseconds; 0 is not set. Raises InvalidRequest for a key that is no whole number.
    """
    given = parameters.get("timeout", 0)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise InvalidRequest(f"expected whole microseconds, 0 for none, got {given!r}", "timeout")
    limits = (own_us / 1e6, given / 1e6, most_ms / 1e3)
    return min((limit for limit in limits if limit), default=None)


def limit_wait(requests: Sequence[EngineRequest], seconds: float | None) -> list[EngineRequest]:
    """The sequences of one request, with the queue timeout on the first of them only.

    Engines start sequences in order of arrival, so while the first waits all do, and once it runs the request has begun.
    """
    first, *others = requests
    return [replace(first, queue_timeout_s=seconds), *others]
