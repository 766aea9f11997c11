"""A chat completion as server-sent events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from qwen_triton.deltas import CallArguments, CallBegin, Content, Delta

from .chat_choice import ChatChoice, new_call_id
from .chunks import DONE, ChunkFrame
from .pieces import Piece
from .usage import UsageCount

_ROLE = b'{"role":"assistant","content":""}'


def _delta(delta: Delta) -> bytes:
    if isinstance(delta, Content):
        return b'{"content":' + orjson.dumps(delta.text) + b"}"
    if isinstance(delta, CallBegin):
        function = {"name": delta.name, "arguments": ""}
        call = {"index": delta.index, "id": new_call_id(), "type": "function", "function": function}
        return b'{"tool_calls":[' + orjson.dumps(call) + b"]}"
    if isinstance(delta, CallArguments):
        call = {"index": delta.index, "function": {"arguments": delta.text}}
        return b'{"tool_calls":[' + orjson.dumps(call) + b"]}"
    return b'{"reasoning_content":' + orjson.dumps(delta.text) + b"}"


class ChatWriter:
    """Turns pieces into chunks. The first chunk of each choice gives its role, its last one its finish reason."""

    def __init__(
        self, frame: ChunkFrame, new_choice: Callable[[], ChatChoice], usage: UsageCount, *, last: bool, each: bool
    ) -> None:
        self._frame = frame
        self._new_choice = new_choice
        self._usage = usage
        self._last_usage = last
        self._each_usage = each
        self._choices: dict[int, ChatChoice] = {}

    def write(self, pieces: Sequence[Piece]) -> bytes:
        return b"".join([chunk for piece in pieces for chunk in self._piece(piece)])

    def end(self) -> bytes:
        """The usage, where it was asked for, and the end mark."""
        return (self._frame.chunk(b"", self._usage.as_json()) if self._last_usage else b"") + DONE

    def _piece(self, piece: Piece) -> list[bytes]:
        out: list[bytes] = []
        self._usage.take(piece)
        choice = self._choices.get(piece.sequence)
        if choice is None:
            choice = self._choices[piece.sequence] = self._new_choice()
            out.append(self._chunk(piece.sequence, _ROLE))
        logprobs: Any = None if piece.logprobs is None else {"content": piece.logprobs, "refusal": None}
        deltas = list(map(_delta, choice.feed(piece)))
        if piece.logprobs and not deltas:
            deltas = [b"{}"]
        for delta in deltas:
            out.append(self._chunk(piece.sequence, delta, logprobs))
            logprobs = None
        if piece.finish:
            out.append(self._finish(piece, choice.finish_reason(piece.finish)))
        return out

    def _chunk(self, index: int, delta: bytes, logprobs: Any = None) -> bytes:
        shown = b"null" if logprobs is None else orjson.dumps(logprobs)
        choice = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null}' % (index, delta, shown)
        return self._frame.chunk(choice, self._so_far())

    def _finish(self, piece: Piece, reason: str) -> bytes:
        end = orjson.dumps({"logprobs": None, "finish_reason": reason, "stop_reason": piece.stop_reason})
        return self._frame.chunk(b'{"index":%d,"delta":{},%b' % (piece.sequence, end[1:]), self._so_far())

    def _so_far(self) -> dict[str, Any] | None:
        return self._usage.as_json() if self._each_usage else None
