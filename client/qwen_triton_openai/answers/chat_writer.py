"""Encodes a chat completion as server-sent events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from qwen_triton.chat.deltas import Content, Delta, ToolCallArguments, ToolCallStart
from qwen_triton.tensors.text_outputs import TextPiece

from .chat_message import ChatChoice, new_call_id
from .chunks import DONE, ChunkFrame, ChunkWriter
from .usage import UsageCount

_ROLE = b'{"role":"assistant","content":%b}'
_TEXT = b'"content":'
_NO_TEXT = _TEXT + b'""'


def _delta(delta: Delta) -> bytes:
    if isinstance(delta, Content):
        return b'{"content":' + orjson.dumps(delta.text) + b"}"
    if isinstance(delta, ToolCallStart):
        function = {"name": delta.name, "arguments": ""}
        call = {"index": delta.index, "id": new_call_id(), "type": "function", "function": function}
        return b'{"tool_calls":[' + orjson.dumps(call) + b"]}"
    if isinstance(delta, ToolCallArguments):
        call = {"index": delta.index, "function": {"arguments": delta.text}}
        return b'{"tool_calls":[' + orjson.dumps(call) + b"]}"
    return b'{"reasoning_content":' + orjson.dumps(delta.text) + b"}"


class ChatWriter(ChunkWriter):
    """Encodes pieces as chunks. A choice's first chunk has its role, its last one its finish reason.

    The chunks of an answer, put together as OpenAI's package does, are the message of the whole answer. Therefore the
    choices begin in order, and the content of an answer of calls alone is null from its first chunk to its last.

    `last`: a final chunk has the usage; `each`: every chunk has the usage so far.
    """

    def __init__(
        self, frame: ChunkFrame, new_choice: Callable[[], ChatChoice], usage: UsageCount, *, last: bool, each: bool
    ) -> None:
        self._frame = frame
        self._new_choice = new_choice
        self._usage = usage
        self._last_usage = last
        self._each_usage = each
        self._choices: dict[int, ChatChoice] = {}
        self._around: dict[int, list[bytes]] = {}

    def write(self, pieces: Sequence[TextPiece]) -> bytes:
        return b"".join([chunk for piece in pieces for chunk in self._piece(piece)])

    def end(self) -> bytes:
        """The usage chunk, if requested, and the end mark."""
        return (self._frame.chunk(b"", self._usage.as_json()) if self._last_usage else b"") + DONE

    def _piece(self, piece: TextPiece) -> list[bytes]:
        out: list[bytes] = []
        choice = self._choices.get(piece.sequence)
        if choice is None:
            self._usage.add_prompt(piece)
            for earlier in range(piece.sequence):
                if earlier not in self._choices:
                    self._choices[earlier] = self._new_choice()
                    out.append(self._role(earlier, []))
            choice = self._choices[piece.sequence] = self._new_choice()
            deltas = choice.feed(piece)
            prompt = b"" if piece.prompt_ids is None else b',"prompt_token_ids":' + orjson.dumps(piece.prompt_ids)
            out.append(self._role(piece.sequence, deltas, prompt))
        else:
            deltas = choice.feed(piece)
        self._usage.add(piece)
        if piece.logprobs is None and piece.token_ids is None and not self._each_usage:
            out += [self._plain(piece.sequence, delta) for delta in deltas]
        else:
            out += self._with_tokens(piece, deltas)
        if piece.finish:
            out.append(self._finish(piece, choice))
        return out

    def _role(self, index: int, first: Sequence[Delta], prompt: bytes = b"") -> bytes:
        """A choice's first chunk, before its first deltas: as long as it has no content, that is null. `prompt`: its fields."""
        role = _ROLE % (b'""' if any(isinstance(delta, Content) for delta in first) else b"null")
        return self._chunk(index, role, more=prompt)

    def _plain(self, index: int, delta: Delta) -> bytes:
        """A chunk with a delta alone. Nearly all are of text: their constant parts are encoded once for each choice."""
        if not isinstance(delta, Content):
            return self._chunk(index, _delta(delta))
        around = self._around.get(index)
        if around is None:
            around = self._around[index] = self._chunk(index, _delta(Content(""))).split(_NO_TEXT)
        return around[0] + _TEXT + orjson.dumps(delta.text) + around[1]

    def _with_tokens(self, piece: TextPiece, deltas: Sequence[Delta]) -> list[bytes]:
        """Chunks of a piece with log probs, token ids or usage; what its tokens have goes with its first delta, or an empty
        one."""
        encoded = list(map(_delta, deltas)) or ([b"{}"] if piece.logprobs or piece.token_ids else [])
        logprobs: Any = None if piece.logprobs is None else {"content": piece.logprobs, "refusal": None}
        first = [self._chunk(piece.sequence, delta, logprobs, piece.token_ids) for delta in encoded[:1]]
        return first + [self._chunk(piece.sequence, delta) for delta in encoded[1:]]

    def _chunk(
        self, index: int, delta: bytes, logprobs: Any = None, token_ids: list[int] | None = None, more: bytes = b""
    ) -> bytes:
        shown = b"null" if logprobs is None else orjson.dumps(logprobs)
        ids = b"" if token_ids is None else b',"token_ids":' + orjson.dumps(token_ids)
        choice = b'{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":null%b}' % (index, delta, shown, ids)
        return self._frame.chunk(choice, self._so_far(), more)

    def _finish(self, piece: TextPiece, choice: ChatChoice) -> bytes:
        """The last chunk of a choice. An answer without content and calls is the empty text, not null."""
        reason = choice.finish_reason(piece.finish or "stop")
        end = orjson.dumps({"logprobs": None, "finish_reason": reason, "stop_reason": piece.stop_reason})
        delta = b"{}" if choice.answered else _delta(Content(""))
        return self._frame.chunk(b'{"index":%d,"delta":%b,%b' % (piece.sequence, delta, end[1:]), self._so_far())

    def _so_far(self) -> dict[str, Any] | None:
        return self._usage.as_json() if self._each_usage else None
