"""System prompt and messages of this API as chat messages, as OpenAI's API and the chat templates have them.

    system                  a message of its own, the first one
    text                    the message's text; several are joined by line ends
    thinking                the assistant's reasoning_content; redacted_thinking, which nobody can read, is left out
    tool_use                a tool call of the assistant
    tool_result             a message of the role tool, in the order of the calls that it answers

Every fault is an ApiError that names its path as the client sent it, such as `messages[2].content[0].text`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ...errors import ApiError, bad_request

ChatMessage = dict[str, Any]

_ROLES = ("user", "assistant", "system")
_BLOCKS = {
    "user": ("text", "tool_result"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
}
"""By role, the content blocks that are read."""
_REMEDIES = {
    "image": "these models read text alone; leave it out",
    "document": "these models read text alone; send the document's text as a text block",
    "search_result": "send the result's text as a text block",
    "container_upload": "there are no containers here; leave it out",
}
_ERROR = "Error: "
"""Before the result of a tool that failed: no chat template has a place for that."""


def chat_messages(system: Any, messages: Sequence[Any]) -> list[ChatMessage]:
    """The chat messages of a body. Raises ApiError."""
    found: list[ChatMessage] = (
        [{"role": "system", "content": text}] if system and (text := _texts(system, "system", "system")) else []
    )
    calls: dict[str, int] = {}
    for index, message in enumerate(messages):
        path = f"messages[{index}]"
        role, blocks = _role(message, path), _blocks(_object(message, path).get("content"), f"{path}.content")
        if role == "assistant":
            found.append(_assistant(blocks, f"{path}.content"))
            calls |= {call["id"]: len(calls) + n for n, call in enumerate(found[-1].get("tool_calls", ()))}
        elif role == "user":
            found += _user(blocks, f"{path}.content", calls)
        else:
            found.append({"role": "system", "content": _texts(blocks, f"{path}.content", "system")})
    return found


def continues_last(messages: Sequence[Any]) -> bool:
    """Whether the answer continues the last message, an assistant's. Raises ApiError where a tool's result must come first."""
    last = messages[-1]
    if last["role"] != "assistant":
        return False
    content = last["content"]
    if not isinstance(content, str) and any(block["type"] == "tool_use" for block in content):
        path = f"messages[{len(messages) - 1}]"
        raise bad_request(f"{path}: a tool_use must be followed by a user's message with its tool_result", path)
    return True


def _assistant(blocks: Sequence[Any], path: str) -> ChatMessage:
    texts, thinking, calls = [], [], []
    for index, block in enumerate(blocks):
        at = f"{path}[{index}]"
        kind = _kind(block, at, "assistant")
        if kind == "text":
            texts.append(_text(block, "text", at))
        elif kind == "thinking":
            thinking.append(_text(block, "thinking", at))
        elif kind == "tool_use":
            calls.append(_tool_call(block, at))
    message: ChatMessage = {"role": "assistant", "content": "\n".join(texts)}
    if any(thinking):
        message["reasoning_content"] = "\n".join(thinking)
    return {**message, "tool_calls": calls} if calls else message


def _tool_call(block: Mapping[str, Any], path: str) -> dict[str, Any]:
    given = block.get("input", {})
    function = {"name": _text(block, "name", path), "arguments": dict(_object(given, f"{path}.input"))}
    return {"id": _text(block, "id", path), "type": "function", "function": function}


def _user(blocks: Sequence[Any], path: str, calls: Mapping[str, int]) -> list[ChatMessage]:
    """A user's message, and the tool results in it, as messages in the order they came."""
    if not blocks:
        return [{"role": "user", "content": ""}]
    kinds = [_kind(block, f"{path}[{index}]", "user") for index, block in enumerate(blocks)]
    found: list[ChatMessage] = []
    for kind, run in groupby(enumerate(blocks), key=lambda entry: kinds[entry[0]]):
        if kind == "text":
            texts = [_text(block, "text", f"{path}[{index}]") for index, block in run]
            found.append({"role": "user", "content": "\n".join(texts)})
        else:
            results = [_tool_result(block, f"{path}[{index}]") for index, block in run]
            found += _in_order_of_calls(results, calls)
    return found


def _tool_result(block: Mapping[str, Any], path: str) -> ChatMessage:
    text = _texts(block.get("content") or "", f"{path}.content", "system")
    failed = block.get("is_error")
    if failed not in (None, True, False):
        raise bad_request(f"{path}.is_error: must be true or false", f"{path}.is_error", "invalid_type")
    return {
        "role": "tool",
        "tool_call_id": _text(block, "tool_use_id", path),
        "content": _ERROR + text if failed else text,
    }


def _in_order_of_calls(results: list[ChatMessage], calls: Mapping[str, int]) -> list[ChatMessage]:
    """Results that follow each other in the order of their calls: templates show no ids, so a model goes by the order."""
    return sorted(results, key=lambda result: calls.get(result["tool_call_id"], len(calls)))


def _texts(content: Any, path: str, role: str) -> str:
    """The text of a content of text blocks alone."""
    blocks = _blocks(content, path)
    for index, block in enumerate(blocks):
        _kind(block, f"{path}[{index}]", role)
    return "\n".join(_text(block, "text", f"{path}[{index}]") for index, block in enumerate(blocks))


def _blocks(content: Any, path: str) -> Sequence[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if not isinstance(content, list):
        raise wrong(path, "a text or a list of content blocks", content)
    return content


def _kind(block: Any, path: str, role: str) -> str:
    kind = _object(block, path).get("type")
    taken = _BLOCKS[role]
    if kind in taken:
        return str(kind)
    remedy = _REMEDIES.get(kind) if isinstance(kind, str) else None
    if remedy:
        raise bad_request(f"{path}.type: '{kind}' is not supported, {remedy}", f"{path}.type", "unsupported_value")
    raise wrong(f"{path}.type", f"one of {', '.join(taken)}", kind)


def _role(message: Any, path: str) -> str:
    role = _object(message, path).get("role")
    if role not in _ROLES:
        raise wrong(f"{path}.role", f"one of {', '.join(_ROLES)}", role)
    return str(role)


def _text(block: Mapping[str, Any], key: str, path: str) -> str:
    value = block.get(key)
    if not isinstance(value, str):
        raise wrong(f"{path}.{key}", "a text", value)
    return value


def _object(value: Any, path: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path, "an object", value)
    return value


def wrong(path: str, expected: str, value: Any) -> ApiError:
    """The error for a value of another kind than `expected`; it shows a short one, and of a list or an object its type."""
    shown = f"{type(value).__name__}" if isinstance(value, (list, dict)) else repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    return bad_request(f"{path}: must be {expected}, got {shown}", path, "invalid_type")
