"""A request's parameters: what Triton makes of the keys of a generate body that are no input of the model.

Triton hands them on without a word. Nothing here reads them, so a misspelt `max_token` would pass unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from ..errors import InvalidRequest
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
