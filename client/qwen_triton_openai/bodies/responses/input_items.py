"""Input items of /v1/responses as chat messages.

    message                user, system, developer: a message; assistant: part of the assistant's turn
    reasoning              the turn's thinking; without its text it is left out, as OpenAI's encrypted one is
    function_call          a call of the turn
    function_call_output   a tool's message

What one answer had as several items becomes one message again, so that a prompt that goes on with it begins with the
same tokens. Every fault names the item at fault, such as `input[2].content[0].type`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import ApiError, bad_request

Message = dict[str, Any]
Item = Mapping[str, Any]

_ROLES = ("user", "assistant", "system", "developer")
_KINDS = ("message", "reasoning", "function_call", "function_call_output")
_TEXT_PARTS = {
    "input_text": "text", "output_text": "text", "text": "text", "reasoning_text": "text", "refusal": "refusal",
}  # fmt: skip
"""{kind of a content part: its field with the text}."""
_SHOWN = 60
"""Characters of a caller's value that an error repeats."""


def flat_name(namespace: str, name: str) -> str:
    """A function of a namespace as the model sees it: chat templates have no namespaces."""
    return f"{namespace}__{name}"


def to_messages(instructions: str | None, given: str | Sequence[Item]) -> list[Message]:
    """The messages of a chat. Raises ApiError for an item that is malformed or of a kind that no model here reads."""
    messages: list[Message] = [] if instructions is None else [{"role": "system", "content": instructions}]
    if isinstance(given, str):
        return [*messages, {"role": "user", "content": given}]
    turns: list[_Turn] = []
    turn: _Turn | None = None
    for index, item in enumerate(given):
        path = f"input[{index}]"
        kind = _kind(item, path)
        if kind == "function_call_output":
            message = _tool_message(item, path)
        elif kind == "message" and item["role"] != "assistant":
            message = {"role": item["role"], "content": _text(item.get("content"), f"{path}.content")}
        else:
            if turn is None or not turn.takes(kind):
                turn = _Turn()
                turns.append(turn)
                messages.append(turn.message)
            turn.add(kind, item, path)
            continue
        turn = None
        messages.append(message)
    for each in turns:
        each.close()
    return messages


class _Turn:
    """One message of the assistant, put together from the items of an answer. `message` is whole once it is closed."""

    def __init__(self) -> None:
        self.message: Message = {"role": "assistant"}
        self._thinking: list[str] = []
        self._texts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._last = "reasoning"

    def takes(self, kind: str) -> bool:
        """Whether an item of this kind can be of the same answer: thinking comes first, and no message behind another."""
        if kind == "reasoning":
            return self._last == "reasoning"
        return kind == "function_call" or self._last != "message"

    def add(self, kind: str, item: Item, path: str) -> None:
        self._last = kind
        if kind == "function_call":
            self._calls.append(_call(item, path))
        elif kind == "message":
            self._texts.append(_text(item.get("content"), f"{path}.content"))
        else:
            self._thinking.append(_text(item.get("content") or [], f"{path}.content"))

    def close(self) -> None:
        self.message["content"] = "".join(self._texts)
        if thinking := "".join(self._thinking):
            self.message["reasoning_content"] = thinking
        if self._calls:
            self.message["tool_calls"] = self._calls


def _kind(item: Item, path: str) -> str:
    kind = item.get("type", "message" if "role" in item else None)
    if kind == "item_reference":
        raise bad_request(
            f"{path}.type: item_reference names an item that is stored, and nothing is stored here; send the item itself "
            "(clients do with store: false)",
            f"{path}.type",
            "unsupported_value",
        )
    if kind not in _KINDS:
        raise _wrong(f"{path}.type", f"must be one of {', '.join(_KINDS)}", kind)
    if kind == "message" and item.get("role") not in _ROLES:
        raise _wrong(f"{path}.role", f"must be one of {', '.join(_ROLES)}", item.get("role"))
    return str(kind)


def _call(item: Item, path: str) -> dict[str, Any]:
    name = _string(item, "name", path)
    if item.get("namespace") is not None:
        name = flat_name(_string(item, "namespace", path), name)
    function = {"name": name, "arguments": _string(item, "arguments", path)}
    return {"id": _string(item, "call_id", path), "type": "function", "function": function}


def _tool_message(item: Item, path: str) -> Message:
    output = _text(item.get("output"), f"{path}.output")
    return {"role": "tool", "tool_call_id": _string(item, "call_id", path), "content": output}


def _text(content: Any, path: str) -> str:
    """The text of a message's content or a function's output: a text, or parts of it, which are lines."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise _wrong(path, "must be a text or a list of text parts", content)
    return "\n".join(_part(part, f"{path}[{index}]") for index, part in enumerate(content))


def _part(part: Any, path: str) -> str:
    if not isinstance(part, dict):
        raise _wrong(path, "must be an object", part)
    field = _TEXT_PARTS.get(part["type"]) if isinstance(part.get("type"), str) else None
    if field is None:
        raise _wrong(
            f"{path}.type", "must be input_text or output_text, this model reads nothing else", part.get("type")
        )
    return _string(part, field, path)


def _string(value: Mapping[str, Any], name: str, path: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise _wrong(f"{path}.{name}", "must be a text", found)
    return found


def _wrong(path: str, expected: str, got: Any) -> ApiError:
    shown = repr(got)
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
    return bad_request(f"{path}: {expected}, got {shown}", path)
