"""Parameters of /v1/responses. `null` is «not given» for each."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import Field

from ..body_parameter import CHAT, RESPONSES, SAMPLED, BodyParameter, hint, neutral, sampled
from ..kinds import Objects, Strings
from ..parameters import PARAMETERS

_ITEMS = [{"role": "user", "content": "你好"}]
_MESSAGES = ({"role": "user", "content": "你好"},)
_TOOL = {"type": "function", "name": "get_weather", "parameters": {"type": "object"}}
_CHAT_TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
_NOT_STORED = "nothing is stored here"


def _responses(
    name: str, kind: Any, example: Any, text: str, sets: dict[str, Any] | None = None, **more: Any
) -> BodyParameter:
    return BodyParameter(name, kind, example, text, sets, (RESPONSES,), **more)


def _as_in_chat(*names: str) -> list[BodyParameter]:
    """The rows of chat completions that mean the same here."""
    rows = {row.name: row for row in PARAMETERS if CHAT in row.endpoints}
    return [replace(rows[name], endpoints=(RESPONSES,)) for name in names]


RESPONSES_PARAMETERS = (
    *_as_in_chat("model"),
    _responses(
        "input",
        str | Annotated[Objects, Field(min_length=1)],
        _ITEMS,
        "a text, or items: message (roles user, assistant, system, developer; text alone), reasoning, function_call, "
        "function_call_output; whatever was in an output may be sent back",
        {"messages": _MESSAGES},
        required=True,
    ),
    _responses(
        "instructions",
        str,
        "Be brief.",
        "a system message before the input",
        {"messages": ({"role": "system", "content": "Be brief."}, *_MESSAGES)},
    ),
    _responses(
        "max_output_tokens",
        Annotated[int, Field(ge=1, lt=2**31)],
        7,
        "most tokens of the answer, thinking included; the context is another bound",
        {"sampling.max_tokens": 7},
    ),
    *(sampled(row, RESPONSES) for row in SAMPLED if row.name not in ("max_tokens", "n", "best_of")),
    *_as_in_chat("stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "logit_bias", "stream"),
    _responses("tools", Objects, [_TOOL], "functions that the model may call; no hosted tools", {"tools": (_CHAT_TOOL,)}),
    _responses(
        "tool_choice",
        str | dict[str, Any],
        "none",
        "auto; none (the model does not see the tools); required and a named function: the answer begins as a call; "
        "allowed_tools: the model sees these alone",
    ),
    *_as_in_chat("parallel_tool_calls"),
    _responses(
        "text",
        dict[str, Any],
        {"format": {"type": "text"}},
        "format: text, json_object or json_schema, see structured-output.md; verbosity is a hint",
    ),
    _responses(
        "reasoning",
        dict[str, Any],
        {"effort": "none"},
        "effort as reasoning_effort of a chat; summary is a hint: the thinking itself is sent",
        {"template_options": {"reasoning_effort": "none"}},
    ),
    *_as_in_chat("chat_template_kwargs", "enable_thinking"),
    _responses(
        "include",
        Strings,
        ["reasoning.encrypted_content"],
        "thinking is always sent, as plain text; message.output_text.logprobs is refused, all others are of items that no "
        "answer here has",
    ),
    *_as_in_chat(
        "user", "metadata", "client_metadata", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "service_tier",
    ),
    hint("stream_options", dict[str, Any], {"include_obfuscation": False}, "events have no padding", RESPONSES),
    hint("max_tool_calls", int, 3, "bounds calls of hosted tools, of which there are none", RESPONSES),
    hint("access_programs", dict[str, Any], {"cyber": "standard"}, "OpenAI's programs of access", RESPONSES),
    *(
        neutral(name, kind, example, why, *values, only=RESPONSES)
        for name, kind, example, why, *values in (
            ("store", bool, True, _NOT_STORED, False),
            ("previous_response_id", str, "resp_1", f"{_NOT_STORED}; send the earlier items again, in input"),
            ("conversation", str | dict[str, Any], "conv_1", f"{_NOT_STORED}; send all items, in input"),
            ("prompt", dict[str, Any], {"id": "pmpt_1"}, f"{_NOT_STORED}; send its text as instructions"),
            ("background", bool, True, "answers are made while the client waits; use stream", False),
            ("background_options", dict[str, Any], {"mode": "x"}, "answers are made while the client waits"),
            ("truncation", str, "auto", "input that is too long is refused, so that the client may shorten it", "disabled"),
            ("context_management", Objects, [{"type": "compaction"}], "the client shortens its conversation", []),
            ("top_logprobs", int, 1, "only /v1/chat/completions has log probs", 0),
            ("moderation", dict[str, Any], {"model": "m"}, "there is no model that moderates"),
            ("image", dict[str, Any], {"size": "x"}, "these models read and write text"),
        )
    ),
)  # fmt: skip
