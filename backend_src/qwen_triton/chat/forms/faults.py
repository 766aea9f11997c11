"""How a form is refused: the place in it, what is wrong, and what to do."""

from __future__ import annotations

from ...errors import InvalidRequest
from ...types import GUIDE


def fault(place: str, text: str) -> InvalidRequest:
    """The refusal of a form; `place` is a JSON pointer with «#», or the name of a kind."""
    return InvalidRequest(f"{place}: {text}", GUIDE)
