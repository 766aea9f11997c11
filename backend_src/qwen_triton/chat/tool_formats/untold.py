"""Reads calls where the model does not tell their format, as stock's models and the ensemble do not: by what they show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..deltas import ToolCallArguments, ToolCallStart
from .hermes import HERMES
from .qwen3_coder import FUNCTION, QWEN3_CODER
from .tool_format import BLANK, OPEN, BlockState, CallBlock, CallForm, ToolFormat, Tools


class UntoldBlock:
    """A `CallBlock` in the format that its first character shows, which is «<» of a function's tag or Hermes' JSON.

    `begun`: what precedes the block's text in each format, where the prompt has begun the call.
    """

    def __init__(self, index: int, tools: ToolFormat, begun: Mapping[str, str] | None) -> None:
        self._index = index
        self._tools = tools
        self._begun = begun
        self._pending = ""
        self._block: CallBlock | None = None

    @property
    def state(self) -> BlockState:
        """UNDECIDED before the first character."""
        return self._block.state if self._block else BlockState.UNDECIDED

    @property
    def complete(self) -> bool:
        """As of the format's block."""
        return self._block is not None and self._block.complete

    @property
    def rest(self) -> str:
        """As of the format's block."""
        return self._block.rest if self._block else ""

    def feed(self, text: str, end: bool = False, cut: bool = False) -> list[ToolCallStart | ToolCallArguments]:
        """The deltas that are certain with this text."""
        if self._block is None:
            self._pending += text
            first = self._pending.lstrip(BLANK)[:1]
            if not first and not end:
                return []
            tool_format = self._tools if first in ("<", "=") else HERMES
            self._block = tool_format.block(OPEN, self._index)
            text = (self._begun or {}).get(tool_format.name, "") + self._pending
        return self._block.feed(text, end, cut)


class Untold:
    """The `ToolFormat` of an answer whose model does not tell one: each call is in the format that it shows.

    A call that the prompt has begun is in the format of the text behind its beginning, of which only the tag is known.
    """

    name = ""

    def __init__(self, tools: ToolFormat = QWEN3_CODER, begun: Mapping[str, str] | None = None) -> None:
        self._tools = tools
        self._begun = begun
        self.openings = QWEN3_CODER.openings

    def for_tools(self, tools: Tools) -> Untold:
        """The format with the types of these tools' parameters."""
        return Untold(QWEN3_CODER.for_tools(tools), self._begun)

    def forced(self, name: str | None) -> Untold:
        """The format of an answer whose first call the prompt began, as `beginning` does: in either."""
        begun = {each.name: each.beginning(name).removeprefix(OPEN) for each in (HERMES, QWEN3_CODER)}
        return Untold(self._tools, begun)

    def block(self, opening: str, index: int) -> CallBlock:
        """A reader of the call behind either tag."""
        if opening == FUNCTION:
            return self._tools.block(opening, index)
        return UntoldBlock(index, self._tools, self._begun if index == 0 else None)

    def beginning(self, name: str | None) -> str:  # noqa: ARG002  what follows differs
        """What the beginnings of all formats have in common."""
        return OPEN

    def form(self, tool: Mapping[str, Any]) -> CallForm:
        """That of Hermes, which older models have."""
        return HERMES.form(tool)


UNTOLD = Untold()
