"""Parses the JSON object of a tool call: its usual beginning, or a complete one in any form that models write."""

from __future__ import annotations

import json
import re

HEAD_LIMIT = 512
"""The most characters up to the end of a call's name; beyond, its arguments are not streamed. Bounds a search."""
_BLANKS = r"[ \t\r\n]*"
_NAME = r'("(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))+")'
_HEAD = re.compile(_BLANKS.join(("", r"\{", '"name"', ":", _NAME, ",", '"arguments"', ":", r"(?=\{)")))


def tool_call_head(text: str) -> tuple[str, int] | None:
    """The name, and the index of the arguments' opening brace, if `text` begins `{"name": "…", "arguments": {`."""
    found = _HEAD.match(text, 0, HEAD_LIMIT)
    if found is None:
        return None
    name = json.loads(found[1])
    return (name, found.end()) if is_sendable(name) else None


def complete_tool_call(text: str) -> tuple[str, str] | None:
    """The name and the JSON text of the arguments, {} where there are none, of a complete object; None if it is no call.

    Arguments may be an object or a string that holds one. Other keys are ignored, but beside a name alone they count as
    misspelt arguments, so that object is no call.
    """
    try:
        call = json.loads(text)
        name, arguments = call.get("name"), call.get("arguments")
        misspelt = len(call) > 1 and "arguments" not in call
        given = json.loads(arguments) if isinstance(arguments, str) else {} if arguments is None else arguments
        plain = json.dumps(given, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):  # a string that holds no JSON, numbers out of range, nesting without end
        return None
    if not isinstance(name, str) or not name or not is_sendable(name) or not isinstance(given, dict) or misspelt:
        return None
    written = arguments if isinstance(arguments, str) else plain
    return name, written if is_sendable(written) else json.dumps(given)


def is_sendable(text: str) -> bool:
    """Whether UTF-8 can encode it: an escape may mean half a surrogate pair."""
    return text.isascii() or not re.search("[\ud800-\udfff]", text)
