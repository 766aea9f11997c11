"""Tools and tool choice of this API in OpenAI's form, which the rest of the shim and the chat templates read.

Only tools that the client runs are taken: a name, a description, and the JSON schema of the input. Those that a provider
runs or that a model was trained on by their names (web search, bash, computer use …) are refused by their type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import bad_request
from .conversation import wrong

_KEYS = ("type", "name", "description", "input_schema", "input_examples", "strict")
_HINTS = ("cache_control", "eager_input_streaming")
"""The cache of prompts finds equal beginnings by itself; inputs are streamed as they come."""
_NEUTRAL: Mapping[str, tuple[Any, str]] = {
    "defer_loading": (False, "every tool is in the prompt"),
    "allowed_callers": (["direct"], "the model alone calls tools"),
}
"""Keys of which one value asks for nothing, and why others are refused."""
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def chat_tools(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """The tools as OpenAI's API has them. Raises ApiError with the path of the fault."""
    return [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]


def chat_tool_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """`tool_choice` and `parallel_tool_calls` as OpenAI's API has them. Raises ApiError."""
    kind, alone = choice.get("type"), choice.get("disable_parallel_tool_use", False)
    if unknown := sorted(choice.keys() - {"type", "name", "disable_parallel_tool_use"}):
        raise bad_request(f"tool_choice.{unknown[0][:200]}: unknown", "tool_choice", "unknown_parameter")
    if alone not in (True, False, None):
        path = "tool_choice.disable_parallel_tool_use"
        raise bad_request(f"{path}: must be true or false", path, "invalid_type")
    if kind == "tool":
        if not isinstance(name := choice.get("name"), str):
            raise wrong("tool_choice.name", "the name of one of the tools", name)
        return {"tool_choice": {"type": "function", "function": {"name": name}}, "parallel_tool_calls": not alone}
    if not isinstance(kind, str) or kind not in _CHOICES:
        raise wrong("tool_choice.type", "auto, any, tool or none", kind)
    return {"tool_choice": _CHOICES[kind], "parallel_tool_calls": not alone}


def _tool(tool: Any, path: str) -> dict[str, Any]:
    given = {key: value for key, value in _object(tool, path).items() if value is not None}
    if (kind := given.get("type", "custom")) != "custom":
        raise bad_request(
            f"{path}.type: {str(kind)[:60]!r} is a tool of Anthropic's own models or servers; "
            "give a tool of your own with name, description and input_schema",
            f"{path}.type",
            "unsupported_value",
        )
    for key, value in given.items():
        _check_key(key, value, path)
    name, schema = given.get("name"), given.get("input_schema")
    if not isinstance(name, str) or not name:
        raise wrong(f"{path}.name", "the tool's name", name)
    if not isinstance(schema, dict):
        raise wrong(f"{path}.input_schema", "a JSON schema", schema)
    function: dict[str, Any] = {"name": name}
    if "description" in given:
        if not isinstance(given["description"], str):
            raise wrong(f"{path}.description", "a text", given["description"])
        function["description"] = given["description"]
    if "strict" in given:
        if not isinstance(given["strict"], bool):
            raise wrong(f"{path}.strict", "true or false", given["strict"])
        function |= {"strict": True} if given["strict"] else {}
    examples = {"examples": given["input_examples"]} if "input_examples" in given else {}
    return {"type": "function", "function": {**function, "parameters": {**schema, **examples}}}


def _check_key(key: str, value: Any, path: str) -> None:
    if key in _NEUTRAL:
        neutral, why = _NEUTRAL[key]
        if value != neutral:
            raise bad_request(f"{path}.{key}: {why}; leave it out", f"{path}.{key}", "unsupported_parameter")
    elif key not in (*_KEYS, *_HINTS):
        raise bad_request(f"{path}.{key[:200]}: unknown; leave it out", f"{path}.{key[:200]}", "unknown_parameter")


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path, "an object", value)
    return value
