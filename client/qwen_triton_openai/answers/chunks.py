"""Server-sent events of a completion. A stream's chunks share most of their bytes, which are encoded once."""

from __future__ import annotations

from typing import Any

import orjson

from ..errors import ApiError

DONE = b"data: [DONE]\n\n"
COMMENT = b": waiting\n\n"


def event(value: Any) -> bytes:
    """A server-sent event with a JSON value."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


class ChunkWriter:
    """What the writers of both completions share: a silent stream carries a comment, and an error is an event of its own."""

    keep_alive = COMMENT

    def fail(self, error: ApiError) -> bytes:
        """The last event of a stream that failed."""
        return event(error.body)


class ChunkFrame:
    """The constant parts of a stream's chunks. `usage`: every chunk has this key, as OpenAI's have with include_usage."""

    def __init__(self, kind: str, completion_id: str, created: int, model: str, *, usage: bool) -> None:
        head = orjson.dumps({"id": completion_id, "object": kind, "created": created, "model": model})
        self._head = b"data: " + head[:-1] + b',"choices":['
        self._usage = usage

    def chunk(self, choice: bytes, usage: Any = None, more: bytes = b"") -> bytes:
        """A chunk with one choice, given as JSON, or with none if it is empty. `more`: other fields, with a comma first."""
        if not self._usage:
            return self._head + choice + b"]" + more + b"}\n\n"
        return self._head + choice + b'],"usage":' + orjson.dumps(usage) + more + b"}\n\n"
