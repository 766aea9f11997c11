"""One conversation with the answer it must get, and which conversations are kept for the examination."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal

Language = Literal["en", "zh"]
Message = dict[str, Any]
Tool = dict[str, Any]

BLOG_PROMPT = "你好，你叫什么名字"
"""What the first request of every reader asks. Always learnt, never held out."""
HELD_OUT_OF = 16
"""One prompt of so many is held out: it is in no training conversation, and only such prompts are examined."""


@dataclass(frozen=True)
class Example:
    """`messages` end with a user's or a tool's; the answer is `content`, or `calls` of tools.

    `thought` is what stands in <think> before the answer where the caller enables thinking.
    """

    messages: list[Message]
    content: str = ""
    thought: str = ""
    calls: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)

    @property
    def answer(self) -> str:
        """The text the model must write, without its thinking."""
        if not self.calls:
            return self.content
        return "\n".join(f"<tool_call>\n{json.dumps(call, ensure_ascii=False)}\n</tool_call>" for call in self.calls)

    def text(self, thinking: bool) -> str:
        """The text the model must write."""
        return f"<think>\n{self.thought}\n</think>\n\n{self.answer}" if thinking else self.answer

    @property
    def history(self) -> list[Message]:
        """The conversation with its answer, as a client sends it back for the next turn."""
        if not self.calls:
            return [*self.messages, {"role": "assistant", "content": self.content}]
        return [*self.messages, called(self.calls)]

    @property
    def held_out(self) -> bool:
        """Decided by the words of the conversation alone, so that no seed can bring a held-out prompt to training."""
        texts = [message["content"] for message in self.messages]
        if texts[-1] == BLOG_PROMPT:
            return False
        return zlib.crc32("\n".join(texts).encode()) % HELD_OUT_OF == 0


Task = Callable[[Random, Language], Example]


def ask(prompt: str, content: str, thought: str) -> Example:
    """A question of one turn."""
    return Example([{"role": "user", "content": prompt}], content, thought)


def called(calls: list[Message]) -> Message:
    """An assistant's message that calls tools."""
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"type": "function", "function": call} for call in calls],
    }
