"""A choice of tools: the tools that a prompt shows, and the call that its answer must begin with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidRequest
from ..types import ToolChoice
from .tool_formats.tool_format import ToolFormat, function_of
from .tool_formats.untold import Untold


def check_tool_choice(choice: ToolChoice, tools: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidRequest for a choice that does not fit the tools."""
    if choice.forced and not tools:
        raise InvalidRequest("only with tools", "tool_choice")
    if choice.mode == "named" and choice.name not in _names(tools):
        raise InvalidRequest("names a function that is not in tools", "tool_choice")


def forced_beginning(choice: ToolChoice, tools: Sequence[Mapping[str, Any]], tool_format: ToolFormat) -> str:
    """The text that the answer begins with so that it is a call, "" where the choice forces none.

    It has the function's name where only one is possible.
    """
    return tool_format.beginning(_forced_name(choice, tools)) if choice.forced else ""


def format_of_forced(choice: ToolChoice, tools: Sequence[Mapping[str, Any]], tool_format: ToolFormat) -> ToolFormat:
    """The format to read an answer in: one that is not told reads a forced call in either."""
    if choice.forced and isinstance(tool_format, Untold):
        return tool_format.forced(_forced_name(choice, tools))
    return tool_format


def _forced_name(choice: ToolChoice, tools: Sequence[Mapping[str, Any]]) -> str | None:
    names = _names(tools)
    return choice.name or (names[0] if len(names) == 1 else None)


def _names(tools: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [function_of(tool).get("name") for tool in tools]
