"""Encodes a text completion, as server-sent events and whole."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any

import orjson

from qwen_triton.tensors.text_outputs import TextPiece, merge_pieces

from .chunks import DONE, ChunkFrame, ChunkWriter
from .usage import UsageCount


class CompletionWriter(ChunkWriter):
    """Encodes each piece as one chunk; a choice's last one has its finish reason.

    `last`: a final chunk has the usage; `each`: every chunk has the usage so far.
    """

    def __init__(self, frame: ChunkFrame, usage: UsageCount, *, last: bool, each: bool) -> None:
        self._frame = frame
        self._usage = usage
        self._last_usage = last
        self._each_usage = each
        self._logprobs: dict[int, LegacyLogprobs] = {}

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        return b"".join([self._chunk(piece) for piece in pieces])

    def end(self) -> bytes:
        """The usage chunk, if requested, and the end mark."""
        return (self._frame.chunk(b"", self._usage.as_json()) if self._last_usage else b"") + DONE

    def _chunk(self, piece: TextPiece) -> bytes:
        self._usage.add(piece)
        end = b'"finish_reason":null}'
        if piece.finish:
            end = orjson.dumps({"finish_reason": piece.finish, "stop_reason": piece.stop_reason})[1:]
        logprobs = b"null" if piece.logprobs is None else orjson.dumps(self._legacy(piece))
        text = orjson.dumps(piece.text)
        choice = b'{"index":%d,"text":%b,"logprobs":%b,%b' % (piece.sequence, text, logprobs, end)
        return self._frame.chunk(choice, self._usage.as_json() if self._each_usage else None)

    def _legacy(self, piece: TextPiece) -> dict[str, Any]:
        tokens = self._logprobs.setdefault(piece.sequence, LegacyLogprobs())
        return tokens.convert(piece.logprobs or ())


def completion_choices(pieces: Sequence[TextPiece], usage: UsageCount) -> list[dict[str, Any]]:
    """The choices of a whole answer."""
    for piece in pieces:
        usage.add(piece)
    return [
        {
            "index": piece.sequence,
            "text": piece.text,
            "logprobs": None if piece.logprobs is None else LegacyLogprobs().convert(piece.logprobs),
            "finish_reason": piece.finish,
            "stop_reason": piece.stop_reason,
        }
        for piece in sorted(merge_pieces(pieces), key=lambda p: p.sequence)
    ]


class LegacyLogprobs:
    """Log probs of one choice in the form of OpenAI's older endpoint: parallel lists.

    A token's offset counts characters of the text before it; a token within a character has that character's offset.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._offset = 0

    def convert(self, content: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The lists of these tokens. `content`: tokens in the chat endpoint's form; offsets continue from earlier calls."""
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
    """Log prob by text of the most likely tokens and of the sampled one; of tokens with one text, the greater."""
    by_text: dict[str, float] = {token["token"]: token["logprob"]}
    for other in token["top_logprobs"]:
        by_text[other["token"]] = max(other["logprob"], by_text.get(other["token"], float("-inf")))
    return by_text
