"""An error message as a kind that can be counted: on one line, without what differs from request to request."""

from __future__ import annotations

import re

_LONGEST = 120


def error_kind(message: str, code: str = "") -> str:
    text = re.sub(r"\b[0-9a-f]{12,}\b|\d+(\.\d+)?", "N", " ".join(message.split()))
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return f"{code}: {text}" if code else text
