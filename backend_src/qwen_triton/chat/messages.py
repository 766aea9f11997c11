"""Checks chat messages and tools, and converts them to the form that Qwen's chat templates read.

    content     text parts become one text, joined by line ends; a missing one becomes ''
    tool_calls  arguments given as JSON text become the object they hold; '' becomes {}; any other text stays as it is,
                since models write broken JSON and clients send it back
    role        developer, which Qwen's templates do not know, becomes system
    reasoning   becomes reasoning_content; None values are left out, other keys are kept as they are

Knows no templates and no tokens. Every fault is an InvalidRequest that names its path, such as `messages[2].role`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from ..errors import InvalidRequest

_DEEPEST = 64
"""Levels of nested lists and objects in arguments given as text; deeper ones stay text."""
ROLES = ("system", "user", "assistant", "tool", "developer")

Message = dict[str, Any]
Tool = dict[str, Any]


def check_messages(messages: object) -> list[Message]:
    """The messages as a template reads them; `messages` is not changed. Raises InvalidRequest."""
    if not _is_list(messages) or not messages:
        raise InvalidRequest("must be a list of one or more messages", "messages")
    return [_message(message, f"messages[{i}]") for i, message in enumerate(messages)]


def check_tools(tools: object) -> list[Tool]:
    """The tool definitions, unchanged. Raises InvalidRequest for one that is no object or does not name its function."""
    if not _is_list(tools):
        raise InvalidRequest("must be a list of tool definitions", "tools")
    return [_tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]


def with_object_arguments(messages: Sequence[Message]) -> list[Message]:
    """The messages for a template that reads the arguments of a call as an object: a text is put into one."""
    return [_with_objects(message) if "tool_calls" in message else message for message in messages]


def _with_objects(message: Message) -> Message:
    calls = [dict(call) for call in message["tool_calls"]]
    for call in calls:
        if "function" in call:
            call["function"] = _with_object(call["function"])
        else:
            call.update(_with_object(call))
    return {**message, "tool_calls": calls}


def _with_object(function: Mapping[str, Any]) -> dict[str, Any]:
    arguments = function["arguments"]
    return {**function, "arguments": {"arguments": arguments} if isinstance(arguments, str) else arguments}


def has_text_arguments(messages: Sequence[Message]) -> bool:
    """Whether a call has arguments that are no JSON object."""
    calls = [call for message in messages for call in message.get("tool_calls", ())]
    return any(isinstance(call.get("function", call)["arguments"], str) for call in calls)


def _message(message: object, path: str) -> Message:
    given = _object(message, path)
    role = given.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"must be one of {', '.join(ROLES)}, got {_shown(role)}", f"{path}.role")
    if given.get("function_call") is not None:
        raise InvalidRequest("is not supported; give tool_calls instead", f"{path}.function_call")
    found = {key: value for key, value in given.items() if value is not None}
    found["role"] = "system" if role == "developer" else role
    found["content"] = _content(given, f"{path}.content")
    for key in ("name", "tool_call_id", "reasoning_content", "reasoning"):
        _text(found.get(key, ""), f"{path}.{key}")
    if "reasoning" in found:
        found.setdefault("reasoning_content", found.pop("reasoning"))
    if "tool_calls" in found:
        found["tool_calls"] = _tool_calls(found["tool_calls"], role, f"{path}.tool_calls")
    return found


def _content(message: Mapping[str, Any], path: str) -> str:
    content = message.get("content")
    if content is None:
        if message["role"] == "assistant":
            return ""
        raise InvalidRequest("is missing; give a text", path)
    if _is_list(content):
        return "\n".join(_part(part, f"{path}[{i}]") for i, part in enumerate(content))
    if not isinstance(content, str):
        raise InvalidRequest(f"must be a text or a list of text parts, got {_shown(content)}", path)
    return _text(content, path)


def _part(part: object, path: str) -> str:
    given = _object(part, path)
    if given.get("type") != "text":
        raise InvalidRequest(
            f"must be 'text', this model reads nothing else; got {_shown(given.get('type'))}", f"{path}.type"
        )
    return _text(given.get("text"), f"{path}.text")


def _tool_calls(calls: object, role: str, path: str) -> list[dict[str, Any]]:
    if not _is_list(calls):
        raise InvalidRequest("must be a list of tool calls", path)
    if calls and role != "assistant":
        raise InvalidRequest(f"belongs to an assistant's message, not to one of role {role}", path)
    return [_tool_call(call, f"{path}[{i}]") for i, call in enumerate(calls)]


def _tool_call(call: object, path: str) -> dict[str, Any]:
    given = dict(_object(call, path))
    if "function" in given:
        given["function"] = _function(given["function"], f"{path}.function")
        return given
    return _function(given, path)


def _function(function: object, path: str) -> dict[str, Any]:
    given = dict(_object(function, path))
    _name(given.get("name"), f"{path}.name")
    given["arguments"] = _arguments(given.get("arguments"), f"{path}.arguments")
    return given


def _arguments(arguments: object, path: str) -> Mapping[str, Any] | str:
    if arguments is None:
        return {}
    if isinstance(arguments, str):
        return _object_in(arguments)
    if not isinstance(arguments, Mapping):
        raise InvalidRequest(f"must be an object or a text, got {_shown(arguments)}", path)
    return arguments


def _object_in(text: str) -> Mapping[str, Any] | str:
    """The JSON object in a text; the text itself if it has none that a template could write again.

    That is broken JSON, another JSON value, half a surrogate pair in an escape, or nesting beyond what is walked here.
    """
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
        json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return text
    return found if isinstance(found, dict) and _depth_up_to(found, _DEEPEST) < _DEEPEST else text


def _depth_up_to(value: Any, most: int) -> int:
    """How deeply lists and objects are nested in a value, counted up to `most`."""
    depth, level = 0, [value]
    while level and depth < most:
        inner = [i for v in level for i in (v.values() if isinstance(v, dict) else v if isinstance(v, list) else ())]
        level = [i for i in inner if isinstance(i, (dict, list))]
        depth += 1
    return depth


def _tool(tool: object, path: str) -> Tool:
    given = dict(_object(tool, path))
    if given.get("type", "function") != "function":
        raise InvalidRequest(f"must be 'function', got {_shown(given['type'])}", f"{path}.type")
    if "function" not in given:
        _name(given.get("name"), f"{path}.function.name")
        return given
    _name(_object(given["function"], f"{path}.function").get("name"), f"{path}.function.name")
    return given


def _name(name: object, path: str) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"must be the function's name, got {_shown(name)}", path)


def _text(text: object, path: str) -> str:
    if not isinstance(text, str):
        raise InvalidRequest(f"must be a text, got {_shown(text)}", path)
    return text


def _object(value: object, path: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidRequest(f"must be an object, got {_shown(value)}", path)
    return value


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _shown(value: object) -> str:
    """A value as an error message shows it: short, on one line."""
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
