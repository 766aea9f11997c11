"""Tools of a chat's body: tools, tool_choice and parallel_tool_calls in the request to the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qwen_triton.chat.tool_choice import check_tool_choice
from qwen_triton.types import GenerateRequest, ToolChoice

from .plan import template_options


def with_messages(base: GenerateRequest, given: Mapping[str, Any]) -> GenerateRequest:
    """Turns the base request into a chat request: messages, template options and tools.

    Raises ApiError, and InvalidRequest for a choice that does not fit the tools.
    """
    tools = tuple(given.get("tools", ()))
    choice = ToolChoice.read(given.get("tool_choice", "auto"))
    check_tool_choice(choice, tools)
    shown = () if choice.mode == "none" else tools
    return replace(
        base,
        prompt=None,
        messages=tuple(given["messages"]),
        tools=shown,
        tool_choice=choice if shown else ToolChoice(),
        template_options=template_options(given),
        parallel_tool_calls=not (shown and given.get("parallel_tool_calls") is False),
        prompt_format=None,
        echo=False,
    )
