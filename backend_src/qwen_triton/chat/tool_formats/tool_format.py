"""The protocol of a format of tool calls: which tags open a call, how its text is read, how a forced one begins.

`chat/tool_calls` and `chat/reasoning` find the calls of an answer in any of them; `hermes` is one.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol

from ..deltas import ToolCallArguments, ToolCallStart

BLANK = " \t\r\n"
"""Around a call they are markup."""


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

    state: BlockState
    complete: bool
    """Whether the call has all of its arguments, well formed."""
    rest: str
    """The text behind the block, once it is CLOSED."""

    def feed(self, text: str, end: bool = False) -> list[ToolCallStart | ToolCallArguments]:
        """The deltas that are certain with this text. `end`: no more comes; the block is then CLOSED or REJECTED."""


class ToolFormat(Protocol):
    """One format of calls, as a chat template teaches it to the model."""

    @property
    def openings(self) -> tuple[str, ...]:
        """The tags that may open a call; each begins with «<»."""

    def block(self, opening: str, index: int) -> CallBlock:
        """A reader of the call behind `opening`; `index` is its number in the answer."""

    def beginning(self, name: str | None) -> str:
        """The text that an answer begins with so that it must be a call: of the function `name`, or of any if None.

        It ends where a token of the model's own text ends, so a blank that belongs to the next token is left out.
        """
