"""The JSON object of a tool call: its usual beginning, and the whole of it in any shape a model may give it."""

from __future__ import annotations

import json
import re

HEAD_LIMIT = 512
"""A call's name stands within so many characters, or its arguments are given out whole; it bounds a search."""
_BLANKS = r"[ \t\r\n]*"
_NAME = r'("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))+")'
_HEAD = re.compile(_BLANKS.join(("", r"\{", '"name"', ":", _NAME, ",", '"arguments"', ":", r"(?=\{)")))


def tool_call_head(text: str) -> tuple[str, int] | None:
    """Name, and where the arguments' opening brace stands, if `text` begins `{"name": "…", "arguments": {`."""
    found = _HEAD.match(text, 0, HEAD_LIMIT)
    if found is None:
        return None
    name = json.loads(found[1])
    return (name, found.end()) if _is_sendable(name) else None


def complete_tool_call(text: str) -> tuple[str, str] | None:
    """Name and JSON text of the arguments of a complete object, {} where it has none; None if it is no call.

    Arguments may be an object or a string that holds one. Other keys are left out, but beside a name alone they are
    taken for misspelt arguments, and the object for no call.
    """
    try:
        call = json.loads(text)
        name, arguments = call.get("name"), call.get("arguments")
        misspelt = len(call) > 1 and "arguments" not in call
        given = json.loads(arguments) if isinstance(arguments, str) else {} if arguments is None else arguments
        plain = json.dumps(given, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):  # a string that holds no JSON, numbers out of range, nesting without end
        return None
    if not isinstance(name, str) or not name or not _is_sendable(name) or not isinstance(given, dict) or misspelt:
        return None
    written = arguments if isinstance(arguments, str) else plain
    return name, written if _is_sendable(written) else json.dumps(given)


def _is_sendable(text: str) -> bool:
    """An escape may stand for half a surrogate pair, which no UTF-8 text can hold."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)
