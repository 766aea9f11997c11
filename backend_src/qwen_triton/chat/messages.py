"""Checks chat messages and tools, and brings them into the shape that Qwen's chat templates read.

    content     text parts become one text, joined by line ends; none becomes ''
    tool_calls  arguments given as JSON text become the object they hold; '' becomes {}
    role        developer, which Qwen's templates do not know, becomes system
    reasoning   becomes reasoning_content; None values are left out, other keys are handed on as they are

Knows nothing of templates and tokens. Every fault is an InvalidRequest that names the place, `messages[2].role`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from ..errors import InvalidRequest

ROLES = ("system", "user", "assistant", "tool", "developer")

Message = dict[str, Any]
Tool = dict[str, Any]


def check_messages(messages: object) -> list[Message]:
    """The messages as a template reads them; the caller's own are left as they are."""
    if not _is_list(messages) or not messages:
        raise InvalidRequest("must be a list of one or more messages", "messages")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def check_tools(tools: object) -> list[Tool]:
    """The tool definitions, unchanged; each must be an object and name its function."""
    if not _is_list(tools):
        raise InvalidRequest("must be a list of tool definitions", "tools")
    return [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def _message(message: object, place: str) -> Message:
    given = _object(message, place)
    role = given.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"must be one of {', '.join(ROLES)}, got {_shown(role)}", f"{place}.role")
    if given.get("function_call") is not None:
        raise InvalidRequest("is not supported; give tool_calls instead", f"{place}.function_call")
    found = {key: value for key, value in given.items() if value is not None}
    found["role"] = "system" if role == "developer" else role
    found["content"] = _content(given, f"{place}.content")
    for key in ("name", "tool_call_id", "reasoning_content", "reasoning"):
        _text(found.get(key, ""), f"{place}.{key}")
    if "reasoning" in found:
        found.setdefault("reasoning_content", found.pop("reasoning"))
    if "tool_calls" in found:
        found["tool_calls"] = _tool_calls(found["tool_calls"], role, f"{place}.tool_calls")
    return found


def _content(message: Mapping[str, Any], place: str) -> str:
    content = message.get("content")
    if content is None:
        if message["role"] == "assistant":
            return ""
        raise InvalidRequest("is missing; give a text", place)
    if _is_list(content):
        return "\n".join(_part(part, f"{place}[{i}]") for i, part in enumerate(content))
    if not isinstance(content, str):
        raise InvalidRequest(f"must be a text or a list of text parts, got {_shown(content)}", place)
    return _text(content, place)


def _part(part: object, place: str) -> str:
    given = _object(part, place)
    if given.get("type") != "text":
        raise InvalidRequest(
            f"must be 'text', this model reads nothing else; got {_shown(given.get('type'))}", f"{place}.type"
        )
    return _text(given.get("text"), f"{place}.text")


def _tool_calls(calls: object, role: str, place: str) -> list[dict[str, Any]]:
    if not _is_list(calls):
        raise InvalidRequest("must be a list of tool calls", place)
    if calls and role != "assistant":
        raise InvalidRequest(f"belongs to an assistant's message, not to one of role {role}", place)
    return [_tool_call(call, f"{place}[{i}]") for i, call in enumerate(calls)]


def _tool_call(call: object, place: str) -> dict[str, Any]:
    given = dict(_object(call, place))
    if "function" in given:
        given["function"] = _function(given["function"], f"{place}.function")
        return given
    return _function(given, place)


def _function(function: object, place: str) -> dict[str, Any]:
    given = dict(_object(function, place))
    _name(given.get("name"), f"{place}.name")
    given["arguments"] = _arguments(given.get("arguments"), f"{place}.arguments")
    return given


def _arguments(arguments: object, place: str) -> Mapping[str, Any]:
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"is not JSON: {error}", place) from None
    if arguments is None:
        return {}
    if not isinstance(arguments, Mapping):
        raise InvalidRequest(f"must be an object or the JSON text of one, got {_shown(arguments)}", place)
    return arguments


def _tool(tool: object, place: str) -> Tool:
    given = dict(_object(tool, place))
    if "function" not in given:
        _name(given.get("name"), f"{place}.function.name")
        return given
    if given.get("type", "function") != "function":
        raise InvalidRequest(f"must be 'function', got {_shown(given['type'])}", f"{place}.type")
    _name(_object(given["function"], f"{place}.function").get("name"), f"{place}.function.name")
    return given


def _name(name: object, place: str) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"must be the function's name, got {_shown(name)}", place)


def _text(text: object, place: str) -> str:
    if not isinstance(text, str):
        raise InvalidRequest(f"must be a text, got {_shown(text)}", place)
    return text


def _object(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"must be an object, got {_shown(value)}", place)
    return value


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _shown(value: object) -> str:
    """A value as an error message shows it: short, on one line."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
