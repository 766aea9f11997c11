"""A text completion as server-sent events."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.text_outputs import TextPiece

from .chunks import DONE, ChunkFrame
from .usage import UsageCount


class CompletionWriter:
    """Turns pieces into chunks: one for each piece, the last of a choice with its finish reason."""

    def __init__(self, frame: ChunkFrame, usage: UsageCount, *, last: bool, each: bool) -> None:
        self._frame = frame
        self._usage = usage
        self._last_usage = last
        self._each_usage = each
        self._logprobs: dict[int, LegacyLogprobs] = {}

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        return b"".join([self._chunk(piece) for piece in pieces])

    def end(self) -> bytes:
        """The usage, where it was asked for, and the end mark."""
        return (self._frame.chunk(b"", self._usage.as_json()) if self._last_usage else b"") + DONE

    def _chunk(self, piece: TextPiece) -> bytes:
        self._usage.take(piece)
        end = b'"finish_reason":null}'
        if piece.finish:
            end = orjson.dumps({"finish_reason": piece.finish, "stop_reason": piece.stop_reason})[1:]
        logprobs = b"null" if piece.logprobs is None else orjson.dumps(self._legacy(piece))
        text = orjson.dumps(piece.text)
        choice = b'{"index":%d,"text":%b,"logprobs":%b,%b' % (piece.sequence, text, logprobs, end)
        return self._frame.chunk(choice, self._usage.as_json() if self._each_usage else None)

    def _legacy(self, piece: TextPiece) -> dict[str, Any]:
        tokens = self._logprobs.setdefault(piece.sequence, LegacyLogprobs())
        return tokens.take(piece.logprobs or ())


class LegacyLogprobs:
    """Turns the tokens of one choice, as they come. A token's offset is the character of the text it begins in."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def take(self, content: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The lists for these tokens; offsets go on from those before."""
        offsets = []
        for token in content:
            offsets.append(self._offset)
            self._offset += len(self._decoder.decode(bytes(token["bytes"])))
        return {
            "tokens": [token["token"] for token in content],
            "token_logprobs": [token["logprob"] for token in content],
            "top_logprobs": [_top(token) for token in content] if any(t["top_logprobs"] for t in content) else None,
            "text_offset": offsets,
        }


def _top(token: dict[str, Any]) -> dict[str, float]:
    """The likeliest tokens and the one that was taken, by their text; of equal texts the likelier."""
    found: dict[str, float] = {token["token"]: token["logprob"]}
    for other in token["top_logprobs"]:
        found[other["token"]] = max(other["logprob"], found.get(other["token"], float("-inf")))
    return found
