"""What an answer's text is made of once Qwen's markup is read: thinking, content, tool calls, each in pieces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reasoning:
    """More of what stands between <think> and </think>."""

    text: str


@dataclass(frozen=True, slots=True)
class Content:
    """More of the answer proper."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStart:
    """A tool call begins; `index` counts the calls of one answer from 0."""

    index: int
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallArguments:
    """More of the JSON text of a call's arguments."""

    index: int
    text: str


Delta = Reasoning | Content | ToolCallStart | ToolCallArguments
