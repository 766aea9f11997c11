"""Refusals of a form, with the place in it."""

from __future__ import annotations

from ...errors import InvalidRequest
from ...types import GUIDED_DECODING_GUIDE


def fault(place: str, text: str) -> InvalidRequest:
    """The refusal of a form; `place` is a JSON pointer with «#», or the name of a kind."""
    return InvalidRequest(f"{place}: {text}", GUIDED_DECODING_GUIDE)
