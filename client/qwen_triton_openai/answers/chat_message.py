"""One choice of a chat completion: text pieces to deltas, and to a message at the end."""

from __future__ import annotations

import secrets
from typing import Any

from qwen_triton.chat.deltas import CallArguments, CallBegin, Content, Delta, Reasoning
from qwen_triton.chat.reasoning import ReasoningParser
from qwen_triton.chat.tool_calls import ToolCallParser
from qwen_triton.tensors.text_outputs import TextPiece


class ChatChoice:
    """`tools`: calls are read out of the answer. `begun`: what the answer was made to begin with (see tool_choice)."""

    def __init__(self, *, tools: bool, begun: str = "", streamed: bool = False) -> None:
        self._reasoning: ReasoningParser | None = None
        self._calls = ToolCallParser(stream_arguments=streamed) if tools else None
        self._begun = begun

    def feed(self, piece: TextPiece) -> list[Delta]:
        """What is certain with this piece; everything with the last."""
        if self._reasoning is None:
            self._reasoning = ReasoningParser(piece.reasoning_opened)
        out = self._read(self._reasoning.feed(self._begun + piece.text))
        self._begun = ""
        if piece.finish:
            out += self._read(self._reasoning.flush())
            out += self._calls.flush() if self._calls else []
        return out

    def finish_reason(self, finish: str) -> str:
        """As OpenAI names it; an answer that was cut off has not finished its calls."""
        return "tool_calls" if finish == "stop" and self._calls and self._calls.calls else finish

    def _read(self, deltas: list[Reasoning | Content]) -> list[Delta]:
        if self._calls is None:
            return list(deltas)
        out: list[Delta] = []
        for delta in deltas:
            out += self._calls.feed(delta.text) if isinstance(delta, Content) else [delta]
        return out


def new_call_id() -> str:
    return f"call_{secrets.token_hex(12)}"


def as_message(deltas: list[Delta]) -> dict[str, Any]:
    """A whole answer's deltas as an assistant's message."""
    content = "".join(d.text for d in deltas if isinstance(d, Content))
    reasoning = "".join(d.text for d in deltas if isinstance(d, Reasoning))
    calls = [_call(d, deltas) for d in deltas if isinstance(d, CallBegin)]
    message: dict[str, Any] = {"role": "assistant", "content": content if content or not calls else None}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return message


def _call(begin: CallBegin, deltas: list[Delta]) -> dict[str, Any]:
    arguments = "".join(d.text for d in deltas if isinstance(d, CallArguments) and d.index == begin.index)
    return {"id": new_call_id(), "type": "function", "function": {"name": begin.name, "arguments": arguments}}
