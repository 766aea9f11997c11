"""A request's parameters: what Triton makes of the keys of a generate body that are no input of the model.

Triton hands them on without a word. Nothing here reads them, so a misspelt `max_token` would pass unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
"""Those with a meaning to the server itself."""
_INPUTS = [tensor.name for tensor in BLS_INPUTS]


def check_parameters(names: Iterable[str]) -> None:
    """Raises InvalidRequest for the first name that nobody reads, with the input that was probably meant."""
    for name in names:
        if name in _OF_TRITON:
            continue
        if name in _INPUTS:
            raise InvalidRequest(f"this model has no such input, {BLS} has; ask there or leave it out", name)
        close = get_close_matches(name, _INPUTS, 1)
        raise InvalidRequest(
            f"no input has this name; {f'did you mean {close[0]}?' if close else 'leave it out'}", name
        )


def queue_timeout_s(own_us: int, parameters: Mapping[str, Any], most_ms: int) -> float | None:
    """The shorter of the request's timeout and the deployment's; None = neither is set.

    `own_us` is the field of the request, `parameters` may have the key. Raises InvalidRequest for a key that is no
    whole number of microseconds.
    """
    given = parameters.get("timeout", 0)
    if not isinstance(given, int) or isinstance(given, bool) or given < 0:
        raise InvalidRequest(f"expected whole microseconds, 0 for none, got {given!r}", "timeout")
    limits = (own_us / 1e6, given / 1e6, most_ms / 1e3)
    return min((limit for limit in limits if limit), default=None)


def limit_wait(requests: Sequence[EngineRequest], seconds: float | None) -> list[EngineRequest]:
    """A call's sequences, of which the first must have a slot within `seconds`.

    Engines begin in order of arrival: where the first has no slot none of the others has, and where it has one the
    request has begun.
    """
    first, *others = requests
    return [replace(first, queue_timeout_s=seconds), *others]
