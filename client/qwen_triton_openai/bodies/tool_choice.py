"""Tool choice: how tools, tool_choice and parallel_tool_calls change the prompt, the answer's beginning and its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qwen_triton.chat.tool_formats.hermes import HERMES
from qwen_triton.chat.tool_formats.tool_format import ToolFormat
from qwen_triton.types import ANSWER_PREFIX, GenerateRequest

from ..errors import bad_request
from .plan import template_options

_CHOICES = 'none, auto, required or {"type": "function", "function": {"name": …}}'


@dataclass(frozen=True)
class ToolPlan:
    """`shown`: tools in the prompt; `read`: the format of the calls that the answer may have; `begun`: text that the answer
    is forced to begin with; `single`: the answer ends with its first call."""

    shown: tuple[Mapping[str, Any], ...] = ()
    read: ToolFormat | None = None
    begun: str = ""
    single: bool = False


def plan_tools(given: Mapping[str, Any]) -> ToolPlan:
    """The plan for a body's parameters. Raises ApiError for a choice that does not fit the tools."""
    tools = tuple(given.get("tools", ()))
    if not tools:
        if given.get("tool_choice", "none") not in ("none", "auto"):
            raise bad_request("tool_choice: only with tools", "tool_choice")
        return ToolPlan()
    choice = given.get("tool_choice", "auto")
    if choice == "none":
        return ToolPlan()
    return ToolPlan(tools, HERMES, _beginning(choice, tools), given.get("parallel_tool_calls") is False)


def _beginning(choice: str | Mapping[str, Any], tools: tuple[Mapping[str, Any], ...]) -> str:
    """Text that forces a tool call: up to the function's name, or including it where only one function is possible."""
    names = [function.get("name") for t in tools if isinstance(function := t.get("function", t), dict)]
    if choice == "auto":
        return ""
    if choice == "required":
        return HERMES.beginning(names[0] if len(names) == 1 else None)
    named = choice if isinstance(choice, Mapping) and choice.get("type", "function") == "function" else {}
    function = named.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if name is None:
        raise bad_request(f"tool_choice: expected {_CHOICES}", "tool_choice")
    if name not in names:
        raise bad_request("tool_choice: names a function that is not in tools", "tool_choice")
    return HERMES.beginning(name)


def with_tools(base: GenerateRequest, given: Mapping[str, Any], tools: ToolPlan) -> GenerateRequest:
    """Turns the base request into a chat request: messages, template options and tools."""
    options = template_options(given)
    if tools.begun:
        # Where a model may think it begins with that. With thinking off a call may come first; any template takes `false`.
        options |= {ANSWER_PREFIX: tools.begun, "enable_thinking": False}
    messages = tuple(given["messages"])
    return replace(
        base, prompt=None, messages=messages, tools=tools.shown, template_options=options,
        parallel_tool_calls=not tools.single, prompt_format=None, echo=False,
    )  # fmt: skip
