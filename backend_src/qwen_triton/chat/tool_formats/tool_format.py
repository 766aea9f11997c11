"""The protocol of a format of tool calls: which tags open a call, how its text is read, how a forced one begins.

`chat/tool_calls` and `chat/reasoning` find the calls of an answer in any of them; `hermes` and `qwen3_coder` are two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Literal, Protocol

from ..deltas import ToolCallArguments, ToolCallStart

BLANK = " \t\r\n"
"""Around a call they are markup."""
OPEN, CLOSE = "<tool_call>", "</tool_call>"
"""The tags around a call of Qwen's models, whatever the format of what they hold."""

Tools = Sequence[Mapping[str, Any]]
"""Tool definitions as OpenAI writes them, or bare functions."""


class BlockState(Enum):
    """What is known of a block. From BEGUN on its deltas are out and cannot be revoked."""

    UNDECIDED = auto()
    REJECTED = auto()
    """No call: its opening tag is text, and what follows the tag is read again."""
    BEGUN = auto()
    BROKEN = auto()
    """Begun, but its arguments are malformed; they are given out as they are, up to the block's end."""
    CLOSED = auto()


class CallBlock(Protocol):
    """Reads one call behind its opening tag, in pieces; the result does not depend on the cuts."""

    @property
    def state(self) -> BlockState:
        """What is known of it so far."""

    @property
    def complete(self) -> bool:
        """Whether the call has all of its arguments, well formed."""

    @property
    def rest(self) -> str:
        """The text behind the block, once it is CLOSED."""

    def feed(self, text: str, end: bool = False, cut: bool = False) -> list[ToolCallStart | ToolCallArguments]:
        """The deltas that are certain with this text.

        `end`: no more comes; the block is then CLOSED or REJECTED. `cut`: the answer did not end by itself.
        """


@dataclass(frozen=True, slots=True)
class CallForm:
    """What a call of one function looks like, for whoever constrains an answer to it: `begin`, arguments, `end`.

    `arguments`: how they are written: as a JSON object, or as Qwen's XML parameters; of the JSON schema `schema` either way.
    """

    begin: str
    arguments: Literal["json", "qwen_xml"]
    schema: Mapping[str, Any]
    end: str


class ToolFormat(Protocol):
    """One format of calls, as a chat template teaches it to the model."""

    @property
    def name(self) -> str:
        """Its name in settings, and as the models tell it."""

    @property
    def openings(self) -> tuple[str, ...]:
        """The tags that may open a call; each begins with «<»."""

    def for_tools(self, tools: Tools) -> ToolFormat:
        """The format for answers to a request with these tools, which type the arguments where the text has no types."""

    def block(self, opening: str, index: int) -> CallBlock:
        """A reader of the call behind `opening`; `index` is its number in the answer."""

    def beginning(self, name: str | None) -> str:
        """The text that an answer begins with so that it must be a call: of the function `name`, or of any if None.

        It ends where a token of the model's own text ends, so a blank that belongs to the next token is left out.
        """

    def form(self, tool: Mapping[str, Any]) -> CallForm:
        """What a call of this tool looks like."""


def function_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function of a tool that OpenAI's form wraps, or that is one."""
    function = tool.get("function", tool)
    return function if isinstance(function, Mapping) else {}


def parameters_of(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The JSON schema of a tool's arguments; that of no arguments where it has none."""
    schema = function_of(tool).get("parameters")
    return schema if isinstance(schema, Mapping) and schema else {"type": "object", "properties": {}}
