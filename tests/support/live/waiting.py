"""Waits for a condition with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable

_POLL_S = 0.01


def becomes(true: Callable[[], bool], within_s: float) -> bool:
    """Whether `true()` holds at some moment of the next `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
