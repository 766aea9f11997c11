"""A text completion as server-sent events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.pieces import Piece

from .chunks import DONE, ChunkFrame
from .legacy_logprobs import LegacyLogprobs
from .usage import UsageCount


class CompletionWriter:
    """Turns pieces into chunks: one for each piece, the last of a choice with its finish reason."""

    def __init__(self, frame: ChunkFrame, usage: UsageCount, *, last: bool, each: bool) -> None:
        self._frame = frame
        self._usage = usage
        self._last_usage = last
        self._each_usage = each
        self._logprobs: dict[int, LegacyLogprobs] = {}

    def write(self, pieces: Sequence[Piece]) -> bytes:
        return b"".join([self._chunk(piece) for piece in pieces])

    def end(self) -> bytes:
        """The usage, where it was asked for, and the end mark."""
        return (self._frame.chunk(b"", self._usage.as_json()) if self._last_usage else b"") + DONE

    def _chunk(self, piece: Piece) -> bytes:
        self._usage.take(piece)
        end = b'"finish_reason":null}'
        if piece.finish:
            end = orjson.dumps({"finish_reason": piece.finish, "stop_reason": piece.stop_reason})[1:]
        logprobs = b"null" if piece.logprobs is None else orjson.dumps(self._legacy(piece))
        text = orjson.dumps(piece.text)
        choice = b'{"index":%d,"text":%b,"logprobs":%b,%b' % (piece.sequence, text, logprobs, end)
        return self._frame.chunk(choice, self._usage.as_json() if self._each_usage else None)

    def _legacy(self, piece: Piece) -> dict[str, Any]:
        tokens = self._logprobs.setdefault(piece.sequence, LegacyLogprobs())
        return tokens.take(piece.logprobs or ())
