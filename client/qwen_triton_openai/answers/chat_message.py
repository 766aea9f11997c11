"""The choices of a chat completion: pieces to deltas by the one parser, and all deltas of a choice to its message."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

from qwen_triton.chat.deltas import Content, Delta, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import ChatReader, reader_of
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import FinishReason, GenerateRequest

from .usage import UsageCount


class ChatChoice:
    """Decoder of one choice of the answer to `request`. `answered`: whether there was content or a call."""

    def __init__(self, request: GenerateRequest) -> None:
        self._request = request
        self._reader: ChatReader | None = None
        self.answered = False

    def feed(self, piece: TextPiece) -> list[Delta]:
        """The deltas that are certain after this piece; with the last piece of the choice, all that remain."""
        reader = self._reader
        if reader is None:
            reader = self._reader = reader_of(self._request, piece.reasoning_opened, piece.tool_format)
        out = reader.feed(piece.text)
        if piece.finish:
            out = out + reader.end(piece.finish)
        if not self.answered:
            self.answered = any(not isinstance(delta, Reasoning) for delta in out)
        return out

    def finish_reason(self, finish: FinishReason) -> str:
        """OpenAI's finish reason, after the last piece."""
        return self._reader.finish_reason(finish) if self._reader else finish


def whole_choices(
    pieces: Sequence[TextPiece], new_choice: Callable[[], ChatChoice], usage: UsageCount
) -> list[dict[str, Any]]:
    """The choices of a whole answer, made of the deltas that a stream of the same pieces would send."""
    decoders: dict[int, ChatChoice] = {}
    deltas: dict[int, list[Delta]] = {}
    logprobs: dict[int, list[Any]] = {}
    token_ids: dict[int, list[int]] = {}
    last: dict[int, TextPiece] = {}
    for piece in pieces:
        usage.add(piece)
        index = piece.sequence
        if index not in decoders:
            decoders[index], deltas[index] = new_choice(), []
        deltas[index] += decoders[index].feed(piece)
        if piece.logprobs:
            logprobs.setdefault(index, []).extend(piece.logprobs)
        if piece.token_ids is not None:
            token_ids.setdefault(index, []).extend(piece.token_ids)
        last[index] = piece
    return [
        {
            "index": index,
            "message": {**_as_message(deltas[index]), "refusal": None},
            "logprobs": {"content": logprobs[index], "refusal": None} if index in logprobs else None,
            "finish_reason": decoders[index].finish_reason(last[index].finish or "stop"),
            "stop_reason": last[index].stop_reason,
            **({"token_ids": token_ids[index]} if index in token_ids else {}),
        }
        for index in sorted(decoders)
    ]


def prompt_ids_of(pieces: Sequence[TextPiece]) -> dict[str, Any]:
    """The field of a chat completion with the token ids of its prompt, if they were asked for."""
    ids = next((piece.prompt_ids for piece in pieces if piece.prompt_ids is not None), None)
    return {} if ids is None else {"prompt_token_ids": ids}


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def _as_message(deltas: list[Delta]) -> dict[str, Any]:
    """All deltas of a choice as the assistant's message. `content` is null for an answer of tool calls alone."""
    content = "".join(d.text for d in deltas if isinstance(d, Content))
    reasoning = "".join(d.text for d in deltas if isinstance(d, Reasoning))
    calls = [_call(d, deltas) for d in deltas if isinstance(d, ToolCallStart)]
    message: dict[str, Any] = {"role": "assistant", "content": content if content or not calls else None}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return message


def _call(begin: ToolCallStart, deltas: list[Delta]) -> dict[str, Any]:
    arguments = "".join(d.text for d in deltas if isinstance(d, ToolCallArguments) and d.index == begin.index)
    return {"id": new_call_id(), "type": "function", "function": {"name": begin.name, "arguments": arguments}}
