"""Readiness of a local server, asked over HTTP: by the launcher, tritonserver's start and `qwen-triton health`."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request

_TIMEOUT_S = 2
_UNVERIFIED = ssl._create_unverified_context()
"""The server is this deployment's own, asked by an address that its certificate need not name."""


def answers(url: str) -> bool:
    """Whether a GET is answered with status 200 within two seconds."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S, context=_UNVERIFIED) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False
