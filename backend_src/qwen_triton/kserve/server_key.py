"""The key of a Triton whose own ports need one: the header that every request carries, from the environment.

tritonserver compares a header of a request with a value of its command line; gRPC's have to begin with
`triton-grpc-protocol-`, and HTTP's has the same name here. The variable is inherited by the models and the shim, which
are clients of the server too. It goes to every Triton that this process connects to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ..errors import ConfigurationError

VARIABLE = "QWEN_TRITON_SERVER_KEY"
NAME = "api-key"
HEADER = f"triton-grpc-protocol-{NAME}"
_KEY = re.compile(r"[A-Za-z0-9._~-]{20,200}")


def check_key(key: str, where: str) -> str:
    """The key. Raises ConfigurationError, naming the place and not the text, for one that does not fit a header."""
    if not _KEY.fullmatch(key):
        reason = f"{where}: expected one line of 20 to 200 letters, digits and -._~"
        raise ConfigurationError(f"{reason}; `openssl rand -hex 24` makes one")
    return key


def key_headers(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The header of a request, none without a key. Raises ConfigurationError for a key that does not fit a header."""
    key = environment.get(VARIABLE)
    return {HEADER: check_key(key, VARIABLE)} if key else {}
