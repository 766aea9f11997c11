"""Parameters of Anthropic's /v1/messages and /v1/messages/count_tokens. `null` is «not given» for each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from ..body_parameter import COUNT_TOKENS, MESSAGES, SAMPLED, BodyParameter, hint, neutral, sampled
from ..kinds import Objects, Strings, object_of

MESSAGES_API = (MESSAGES, COUNT_TOKENS)

_Object = dict[str, Any]
_TEXT = [{"role": "user", "content": "你好"}]
_TOOL = {"name": "get_weather", "input_schema": {"type": "object"}}
_CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}


def _without_nulls(given: dict[str, str | None]) -> dict[str, str | None]:
    return {key: value for key, value in given.items() if value is not None}


def _both(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, MESSAGES_API, **more)


def _hint(name: str, kind: Any, example: Any, text: str) -> BodyParameter:
    return hint(name, kind, example, text, *MESSAGES_API)


def _refused(name: str, kind: Any, example: Any, why: str, *taken: Any) -> BodyParameter:
    return neutral(name, kind, example, why, *taken, only=MESSAGES_API)


MESSAGES_PARAMETERS = (
    _both("model", str, "qwen", "one of the names in /v1/models", required=True),
    _both(
        "messages",
        Annotated[Objects, Field(min_length=1)],
        _TEXT,
        "roles user, assistant, system; content a text or blocks: text, tool_use, tool_result, thinking, "
        "redacted_thinking (left out); an assistant's text at the end is continued; images and documents are refused",
        {"messages": tuple(_TEXT)},
        required=True,
    ),
    BodyParameter(
        "max_tokens",
        Annotated[int, Field(ge=1, lt=2**31)],
        7,
        "most tokens of the answer, thinking included; the context is another bound",
        {"sampling.max_tokens": 7},
        (MESSAGES,),
        required=True,
    ),
    _both(
        "system",
        str | Objects,
        "Be brief.",
        "a text or text blocks",
        {"messages": ({"role": "system", "content": "Be brief."}, *_TEXT)},
    ),
    *(sampled(row, MESSAGES) for row in SAMPLED if row.name in ("temperature", "top_k", "top_p")),
    BodyParameter(
        "stop_sequences",
        Strings,
        ["\n\n"],
        "matched in the text, left out of it",
        {"stop.strings": ("\n\n",)},
        (MESSAGES,),
    ),
    BodyParameter("stream", bool, True, "answers as server-sent events", {"stream": True}, (MESSAGES,)),
    _both(
        "tools",
        Objects,
        [_TOOL],
        "tools of the client: name, description, input_schema, input_examples, strict; those of Anthropic's servers and models "
        "are refused by their type",
        {"tools": (_CHAT_TOOL,)},
    ),
    _both(
        "tool_choice",
        _Object,
        {"type": "none"},
        "auto; none (the model does not see the tools); any and tool: the answer begins as a call; "
        "disable_parallel_tool_use: the answer ends when its first call is closed",
    ),
    _both(
        "thinking",
        _Object,
        {"type": "enabled", "budget_tokens": 1024},
        "enabled, adaptive: thinking, where the chat template has the choice; disabled, or left out: none there; "
        "display: omitted leaves its text out; budget_tokens is a hint, max_tokens bounds thinking too",
        {"template_options": {"reasoning_effort": "high"}},
    ),
    _both(
        "output_config",
        _Object,
        {"effort": "low"},
        "effort: with thinking, for a chat template that reads the word; format: json_schema, see structured-output.md",
    ),
    _both(
        "context_management",
        _Object,
        {"edits": [{"type": "clear_thinking_20251015"}]},
        "clear_thinking is a hint, a chat template leaves earlier thinking out by itself; other edits are refused",
    ),
    _hint(
        "metadata",
        Annotated[object_of(str | None), AfterValidator(_without_nulls)],
        {"user_id": "u-1"},
        "goes to the access log",
    ),
    _hint("cache_control", _Object, {"type": "ephemeral"}, "the cache of prompts finds equal beginnings by itself"),
    _hint("service_tier", str, "auto", "there is one tier"),
    _hint("user_profile_id", str, "p-1", "Anthropic's name of the caller's user"),
    _hint("workspace_id", str, "w-1", "Anthropic's name of the caller's workspace"),
    _refused("speed", Literal["standard", "fast"], "fast", "there is one speed", "standard"),
    _refused("container", str | _Object, "c-1", "there are no containers here"),
    _refused("mcp_servers", Objects, [{"type": "url"}], "this server reaches no other; give the tools themselves", []),
    _refused("inference_geo", str, "us", "this server answers where it runs"),
    _refused("diagnostics", _Object, {"previous_message_id": "m"}, "nothing is kept of earlier requests"),
)
"""Also of the package's beta methods, as far as their clients send them unasked."""
