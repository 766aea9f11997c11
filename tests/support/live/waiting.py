"""Waits for a condition, or for a value to stay, with a time limit."""

from __future__ import annotations

import time
from collections.abc import Callable

_POLL_S = 0.01
_STILL_S = 0.3
_SETTLES_S = 10.0


def becomes(true: Callable[[], bool], within_s: float) -> bool:
    """Whether `true()` holds at some moment of the next `within_s` seconds."""
    deadline = time.monotonic() + within_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def settled(read: Callable[[], int]) -> int:
    """What `read()` says once it has said the same for 0.3 s. Fails the test where it never does."""
    value, since = read(), time.monotonic()
    deadline = since + _SETTLES_S
    while time.monotonic() < since + _STILL_S:
        assert time.monotonic() < deadline, f"still changes: {value}"
        time.sleep(_POLL_S)
        if (new := read()) != value:
            value, since = new, time.monotonic()
    return value
