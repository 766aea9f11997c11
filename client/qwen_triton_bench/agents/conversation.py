"""Conversations of agents: histories of source files and tool results that grow by as many tokens each turn.

Each agent reads the sources of this project from another place on, and names itself in every message, so that no server
has seen a message of it before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import qwen_triton
from qwen_triton.text.tokenizer import Tokenizer

from ..prompts.prompt import Prompt

_MESSAGE_TOKENS = 2000
"""Of a message of the history: a file that was read, or the output of a command."""
_SPOKEN = 0.1
"""Part of a turn's new tokens that is the agent's own answer; the rest is what its tools gave."""


@dataclass(frozen=True)
class AgentPlan:
    """Lengths in tokens, about: of the first turn's prompt, of what each further turn adds, and of the answers."""

    history: int
    new: int
    answer: int
    turns: int


class SourceText:
    """Text to read, of so many tokens, from the sources of this project."""

    def __init__(self, tokenizer: Tokenizer, agent: int, agents: int) -> None:
        self._tokenizer = tokenizer
        self._at = len(self._text) * agent // agents

    @cached_property
    def _text(self) -> str:
        files = sorted(Path(qwen_triton.__file__).parent.rglob("*.py"))
        text = "".join(file.read_text(encoding="utf-8") for file in files)
        return text.replace("<|", "< |")  # control tokens, which some sources name

    @cached_property
    def _characters_per_token(self) -> float:
        sample = self._text[: 1 << 16]
        return len(sample) / len(self._tokenizer.encode(sample))

    def take(self, tokens: int) -> str:
        """The next text of about so many tokens; the sources begin again at their end."""
        count = round(tokens * self._characters_per_token)
        begin, self._at = self._at, (self._at + count) % len(self._text)
        text = self._text[begin : begin + count]
        while len(text) < count:
            text += self._text[: count - len(text)]
        return text


def conversation(plan: AgentPlan, text: SourceText, agent: str) -> Iterator[Prompt]:
    """The prompts of an agent's turns, one after the other: as chat messages, and as the text that ChatML makes of them.

    `agent`: its name.
    """
    messages = [{"role": "system", "content": f"You are agent {agent}. {text.take(_MESSAGE_TOKENS)}"}]
    messages.append(_message("user", agent, 1, text.take(_MESSAGE_TOKENS)))
    for _ in range(plan.history // _MESSAGE_TOKENS - 2):
        messages += _turn(_MESSAGE_TOKENS, text, agent, len(messages))
    for _ in range(plan.turns):
        yield Prompt(plan.answer, text=_chatml(messages), messages=tuple(messages))
        messages += _turn(plan.new, text, agent, len(messages))


def _turn(tokens: int, text: SourceText, agent: str, number: int) -> list[dict[str, str]]:
    """An answer of the agent and what its tools gave, of so many tokens together."""
    spoken = round(tokens * _SPOKEN)
    return [
        _message("assistant", agent, number, text.take(spoken)),
        _message("user", agent, number + 1, text.take(tokens - spoken)),
    ]


def _message(role: str, agent: str, number: int, text: str) -> dict[str, str]:
    return {"role": role, "content": f"agent {agent}, message {number}:\n{text}"}


def _chatml(messages: list[dict[str, str]]) -> str:
    said = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    return f"{said}<|im_start|>assistant\n"
