"""Closes those APIs of tritonserver by which a caller changes the server or reads what is another's.

tritonserver answers a restricted API only where a request has a header of a given name and value. Here the name is one
that no request can have: HTTP ends a header's name at the colon, and gRPC resets a call with a space or a colon in one.
So there is no secret that the server's command line, which every local user can read, could give away. The value is
random all the same, in case another release of gRPC is less strict. tritonserver names the header in its refusal, so it
says what to do.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import get_args

from ..deployment.schema import ClosedApi

HEADER = "none: closed by server.open_apis"
"""In tritonserver's refusal: «This API is restricted, expecting header 'none: closed by server.open_apis'»."""


def closing_flags(opened: Collection[ClosedApi]) -> list[str]:
    """tritonserver's flags that close every closed API but the `opened` ones, on HTTP and on gRPC."""
    closed = [api for api in get_args(ClosedApi) if api not in opened]
    if not closed:
        return []
    restriction = f"{','.join(closed)}:{HEADER}={secrets.token_urlsafe(24)}"
    return [f"--http-restricted-api={restriction}", f"--grpc-restricted-protocol={restriction}"]
