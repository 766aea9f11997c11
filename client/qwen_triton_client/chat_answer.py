"""A chat answer under way: thinking, content and tool calls as they come, and the message they make at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal

from qwen_triton.chat.deltas import Content, Delta, Reasoning, ToolCallArguments, ToolCallStart
from qwen_triton.chat.reader import ChatReader, reader_of
from qwen_triton.types import FinishReason, GenerateRequest, Usage

from .text_answer import TextAnswer


@dataclass(slots=True)
class ToolCall:
    """A function that the model calls; `arguments` is JSON text as the model wrote it."""

    name: str
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class ChatResult:
    """A finished chat answer. `finish_reason` is «tool_calls» when all its calls are complete."""

    content: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: FinishReason | Literal["tool_calls"] | None
    usage: Usage | None

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message for the history of the next request."""
        message: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [
                {"type": "function", "function": {"name": c.name, "arguments": c.arguments}} for c in self.tool_calls
            ]
        return message


class ChatAnswer:
    """Iterate for deltas (qwen_triton.chat.deltas); `result` is there at the end. `cancel()` works as TextAnswer's does."""

    def __init__(self, answer: TextAnswer, request: GenerateRequest, *, thinking_opened: bool = False) -> None:
        self._answer = answer
        self._request = request
        self._reader: ChatReader | None = None
        self._thinking_opened = thinking_opened
        self._content: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[ToolCall] = []

    def __iter__(self) -> Iterator[Delta]:
        for piece in self._answer.pieces():
            reader = self._reader
            if reader is None:
                opened = self._thinking_opened or piece.reasoning_opened
                reader = self._reader = reader_of(self._request, opened, piece.tool_format)
            yield from self._kept(reader.feed(piece.text))
        if self._reader is not None:
            yield from self._kept(self._reader.end(self._answer.result.finish_reason or "stop"))

    def _kept(self, deltas: list[Delta]) -> list[Delta]:
        for delta in deltas:
            match delta:
                case Content(text):
                    self._content.append(text)
                case Reasoning(text):
                    self._thoughts.append(text)
                case ToolCallStart(_, name):
                    self._calls.append(ToolCall(name))
                case ToolCallArguments(index, text):
                    self._calls[index].arguments += text
        return deltas

    def cancel(self) -> None:
        self._answer.cancel()

    def finish(self) -> ChatResult:
        """Waits for the end."""
        for _ in self:
            pass
        return self.result

    @property
    def result(self) -> ChatResult:
        told = self._answer.result
        reason = told.finish_reason
        return ChatResult(
            "".join(self._content),
            "".join(self._thoughts),
            tuple(self._calls),
            self._reader.finish_reason(reason) if self._reader and reason else reason,
            told.usage,
        )

    def __enter__(self) -> ChatAnswer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._answer.__exit__(kind, error, trace)
