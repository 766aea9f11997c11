"""How long a request may wait for a slot of the engine: its own `timeout`, within what the deployment allows.

Triton has two spellings of a request's timeout: a field of the request (KServe infer and gRPC), and a key of a generate
body, which it hands on as a parameter without reading it. Both are microseconds; 0 = none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import InvalidRequest
from ..types import EngineRequest


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
