"""Access log: one JSON line for each request, with the key's name, path, status, duration and token counts.

Has no secrets: no key, no query string, and of a body only `user` and `metadata`, which clients send for this purpose and
whose size the table of limits bounds. What a client wrote cannot end the line.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from typing import Any, TextIO

from starlette.types import Scope

from qwen_triton.engines.process.log_lines import escaped

from .observe import RequestRecord, elapsed_s

_MOST_NAMES, _LONGEST_NAME = 32, 64
"""Of a list of names that a client chose."""
_LONGEST_PATH = 1024
_to_json = json.JSONEncoder(ensure_ascii=False).encode
"""As json.dumps, which makes an encoder for each call."""


class AccessLog:
    """A watcher that writes a line to `stream` (default: standard output) when a request has ended."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout

    def watch(self, record: RequestRecord, scope: Scope) -> Callable[[], None]:
        return partial(self._write, record, scope)

    def _write(self, record: RequestRecord, scope: Scope) -> None:
        self._stream.write(escaped(_to_json(entry(record) | scope.get("caller_notes", {}))) + "\n")
        self._stream.flush()


def entry(record: RequestRecord) -> dict[str, Any]:
    """The line as an object. Times are in milliseconds; a request that generates nothing has no counts."""
    first = record.first_at
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "request_id": record.request_id,
        "client": record.client,
        "key": record.key_name,
        "method": record.method,
        "path": record.path[:_LONGEST_PATH],
        "status": record.status,
        "duration_ms": round(elapsed_s(record) * 1e3, 1),
    }
    if record.model:
        line |= {
            "model": record.model,
            "stream": record.streamed,
            "queued_ms": round(record.queued_s * 1e3, 1),
            "first_token_ms": None if first is None else round((first - record.started) * 1e3, 1),
            "prompt_tokens": record.prompt_tokens,
            "completion_tokens": record.completion_tokens,
        }
    if record.ignored:
        line["ignored_parameters"] = [name[:_LONGEST_NAME] for name in record.ignored[:_MOST_NAMES]]
    return line
