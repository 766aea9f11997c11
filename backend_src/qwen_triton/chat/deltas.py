"""The parts of an answer once Qwen's markup is parsed: reasoning, content and tool calls, each in pieces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Text between <think> and </think>."""

    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """The beginning of a tool call; `index` counts the calls of one answer from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """A part of the JSON text of a tool call's arguments."""

    index: int
    text: str


Delta = Reasoning | Content | ToolCallStart | ToolCallArguments
