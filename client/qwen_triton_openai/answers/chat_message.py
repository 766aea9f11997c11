"""One choice of a chat completion: decodes text pieces to deltas, and deltas to the assistant's message."""

from __future__ import annotations

import secrets
from typing import Any

from qwen_triton.chat.deltas import Content, Delta, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reasoning import ReasoningParser
from qwen_triton.chat.tool_calls import ToolCallParser
from qwen_triton.tensors.text_outputs import TextPiece


class ChatChoice:
    """Decoder of one choice. `tools`: the text may have tool calls; `streamed`: their arguments come as they grow.

    `begun`: the text that the prompt already ends with and the answer continues (see endpoints/tool_choice).
    """

    def __init__(self, *, tools: bool, begun: str = "", streamed: bool = False) -> None:
        self._reasoning: ReasoningParser | None = None
        self._calls = ToolCallParser(stream_arguments=streamed) if tools else None
        self._begun = begun

    def feed(self, piece: TextPiece) -> list[Delta]:
        """The deltas that are certain after this piece; with the last piece of the choice, all that remain."""
        if self._reasoning is None:
            self._reasoning = ReasoningParser(piece.reasoning_opened)
        out = self._read(self._reasoning.feed(self._begun + piece.text))
        self._begun = ""
        if piece.finish:
            out += self._read(self._reasoning.flush())
            out += self._calls.flush() if self._calls else []
        return out

    def finish_reason(self, finish: str) -> str:
        """OpenAI's finish reason: `tool_calls` only for an answer that ended by itself; one cut off has unfinished calls."""
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
