"""Closes those APIs of tritonserver by which a caller changes the server or reads what is another's.

tritonserver answers a restricted API only where a request has a header of a given name and value. Here the name is one
that no request can have: HTTP ends a header's name at the colon, and gRPC resets a call with a space or a colon in one.
So there is no secret that the server's command line, which every local user can read, could give away. The value is
random all the same, in case another release of gRPC is less strict. tritonserver names the header in its refusal, so it
says what to do.

A key for the rest, if asked for, is a secret in that command line; TritonServer overwrites it there once it is read.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from typing import get_args

from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve import server_key

from ..deployment.schema import ClosedApi, Server

HEADER = "none: closed by server.open_apis"
"""In tritonserver's refusal: «This API is restricted, expecting header 'none: closed by server.open_apis'»."""
_KEYED = ("inference", "metadata", "model-config", "statistics")


def closing_flags(opened: Collection[ClosedApi]) -> list[str]:
    """tritonserver's flags that close every closed API but the `opened` ones, on HTTP and on gRPC."""
    closed = [api for api in get_args(ClosedApi) if api not in opened]
    return _restrict(closed, HEADER, HEADER, secrets.token_urlsafe(24)) if closed else []


def key_flags(opened: Collection[ClosedApi], key: str) -> list[str]:
    """tritonserver's flags that open everything but health to those alone who send the key."""
    return _restrict([*_KEYED, *opened], server_key.HEADER, server_key.NAME, key)


def _restrict(apis: Collection[str], http_header: str, grpc_header: str, value: str) -> list[str]:
    """gRPC's header has a prefix, which tritonserver adds itself."""
    names = ",".join(apis)
    return [
        f"--http-restricted-api={names}:{http_header}={value}",
        f"--grpc-restricted-protocol={names}:{grpc_header}={value}",
    ]


def read_key(settings: Server) -> str | None:
    """The key of `server.api_key_file`, None where none is asked for. Raises ConfigurationError without repeating it."""
    file = settings.api_key_file
    if file is None:
        return None
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "it is no text"
        raise ConfigurationError(f"server.api_key_file: {file}: cannot be read: {reason}") from None
    return server_key.check_key(text.strip(), f"server.api_key_file: {file}")
