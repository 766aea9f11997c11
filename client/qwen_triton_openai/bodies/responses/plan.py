"""Plan of a response: a body of /v1/responses in the words of a chat, and what the response says of its request.

Knows no events. `chat_plan` plans the request to the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import orjson

from qwen_triton.tensors.contract import INPUT_IDS, TEXT_INPUT

from ...errors import ApiError, bad_request
from ...settings import ShimSettings
from ..chat_plan import ChatPlan, plan_chat
from ..parameters import Effort
from .input_items import flat_name, to_messages

Given = Mapping[str, Any]

NAMES = {
    TEXT_INPUT: "input",
    INPUT_IDS: "input",
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
}
"""A chat's or the model's name of a parameter → this endpoint's."""
_OTHERWISE = ("input", "instructions", "max_output_tokens", "tools", "tool_choice", "text", "reasoning", "include")
"""Parameters that a chat has under another name, in another form, or not at all."""
_WRAPPED = "text.format.json_schema"
_TEXT_KEYS = ("format", "verbosity")
_REASONING_KEYS = ("effort", "summary", "generate_summary", "context")
_LOGPROBS = "message.output_text.logprobs"
_CHOICES = 'none, auto, required, {"type": "function", "name": …} or {"type": "allowed_tools", "mode": …, "tools": […]}'
_OWN_TOOLS = ("function", "namespace")
"""Kinds of tools that the client runs; a namespace is a list of functions."""
_SHOWN = 60


def plan_response(given: Given, settings: ShimSettings) -> ChatPlan:
    """The plan for a body's parameters. Raises ApiError."""
    if _LOGPROBS in given.get("include", ()):
        message = f"include: {_LOGPROBS}: only /v1/chat/completions has log probs; leave it out"
        raise bad_request(message, "include", "unsupported_value")
    chat = {name: value for name, value in given.items() if name not in _OTHERWISE}
    chat["messages"] = to_messages(given.get("instructions"), given["input"])
    if "max_output_tokens" in given:
        chat["max_tokens"] = given["max_output_tokens"]
    chat |= _tools(given)
    chat |= _format(given.get("text", {}))
    chat |= _effort(given.get("reasoning", {}))
    try:
        return plan_chat(chat, settings, NAMES)
    except ApiError as error:
        raise _without_wrapper(error) from None


def _without_wrapper(error: ApiError) -> ApiError:
    """An error of a schema in this API's words: `text.format` has what a chat's wrapper `json_schema` has."""
    if error.param is None or not error.param.startswith(_WRAPPED):
        return error
    param, message = (text.replace(_WRAPPED, "text.format", 1) for text in (error.param, error.message))
    return ApiError(error.status, message, param=param, code=error.code, kind=error.kind, headers=error.headers)


def without_hosted_tools(given: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The parameters with functions alone for tools, and the names of the tools that are left out, such as `tools[2]`."""
    tools = given.get("tools", [])
    hosted = [index for index, tool in enumerate(tools) if tool.get("type") not in _OWN_TOOLS]
    if not hosted:
        return given, []
    functions = [tool for tool in tools if tool.get("type") in _OWN_TOOLS]
    return {**given, "tools": functions}, [f"tools[{index}]" for index in hosted]


def namespaces_of(given: Given) -> dict[str, tuple[str, str]]:
    """{name that the model sees: (namespace, name)} of the functions in namespaces, once `plan_response` has passed them."""
    spaces = [tool for tool in given.get("tools", ()) if tool["type"] == "namespace"]
    inner = [(space["name"], function["name"]) for space in spaces for function in space["tools"]]
    return {flat_name(space, name): (space, name) for space, name in inner}


def request_fields(given: Given, settings: ShimSettings) -> dict[str, Any]:
    """The part of a response that repeats its request: what was given, or what holds without it.

    Raises ApiError for values that are nested too deeply to be written again, which would end the response in its middle.
    """
    reasoning, text = given.get("reasoning", {}), given.get("text", {})
    defaults = {"type": "function", "name": None, "description": None, "parameters": None, "strict": None}
    fields = {
        "model": given["model"],
        "instructions": given.get("instructions"),
        "max_output_tokens": given.get("max_output_tokens"),
        "max_tool_calls": given.get("max_tool_calls"),
        "parallel_tool_calls": given.get("parallel_tool_calls", True),
        "previous_response_id": None,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "store": False,
        "background": False,
        "service_tier": "default",
        "temperature": given.get("temperature", settings.temperature),
        "top_p": given.get("top_p", settings.top_p),
        "presence_penalty": given.get("presence_penalty", 0.0),
        "frequency_penalty": given.get("frequency_penalty", 0.0),
        "top_logprobs": 0,
        "text": {"format": {"type": "text"}} | {key: value for key, value in text.items() if value is not None},
        "tool_choice": given.get("tool_choice", "auto"),
        "tools": [tool if tool["type"] == "namespace" else defaults | tool for tool in given.get("tools", ())],
        "truncation": "disabled",
        "user": given.get("user"),
        "metadata": given.get("metadata", {}),
        "safety_identifier": given.get("safety_identifier"),
        "prompt_cache_key": given.get("prompt_cache_key"),
    }
    try:
        orjson.dumps([[[[fields]]]])  # as deep as in an event, and one more
    except TypeError:
        raise bad_request("the body is nested too deeply; send flatter values", None) from None
    return fields


def _format(text: Given) -> dict[str, Any]:
    """`text.format` as a chat's response_format."""
    _check_keys("text", text, _TEXT_KEYS)
    wanted = text.get("format")
    if wanted is None:
        return {}
    if not isinstance(wanted, dict):
        raise bad_request(f"text.format: must be an object, got {_shown(wanted)}", "text.format", "invalid_type")
    if wanted.get("type") != "json_schema":
        return {"response_format": wanted}
    return {"response_format": {"type": "json_schema", "json_schema": {k: v for k, v in wanted.items() if k != "type"}}}


def _effort(reasoning: Given) -> dict[str, Any]:
    _check_keys("reasoning", reasoning, _REASONING_KEYS)
    effort = reasoning.get("effort")
    if effort is None:
        return {}
    if effort not in get_args(Effort):
        path = "reasoning.effort"
        raise bad_request(f"{path}: must be one of {', '.join(get_args(Effort))}, got {_shown(effort)}", path)
    return {"reasoning_effort": effort}


def _check_keys(name: str, value: Given, known: Sequence[str]) -> None:
    for key in value:
        if key not in known and value[key] is not None:
            path = f"{name}.{key[:_SHOWN]}"
            raise bad_request(f"{path}: unknown; there are {', '.join(known)}", path, "unknown_parameter")


def _tools(given: Given) -> dict[str, Any]:
    """Tools and their choice in a chat's form. Raises ApiError for hosted tools, and for a choice that is malformed."""
    tools = [one for index, tool in enumerate(given.get("tools", ())) for one in _functions(tool, f"tools[{index}]")]
    choice = given.get("tool_choice", "auto")
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        names = _allowed(choice)
        if unknown := names - {tool["function"]["name"] for tool in tools}:
            message = f"tool_choice.tools: {_shown(min(unknown))} is not in tools"
            raise bad_request(message, "tool_choice.tools")
        tools = [tool for tool in tools if tool["function"]["name"] in names]
        choice = choice["mode"]
    elif isinstance(choice, dict):
        if choice.get("type") != "function" or not isinstance(choice.get("name"), str):
            raise _choice_fault()
        choice = {"type": "function", "function": {"name": choice["name"]}}
    elif choice not in ("none", "auto", "required"):
        raise _choice_fault()
    return {"tools": tools, "tool_choice": choice}


def _functions(tool: Given, path: str) -> list[dict[str, Any]]:
    """A tool in a chat's form; a namespace is its functions, each named after it."""
    if tool.get("type") != "namespace":
        return [_tool(tool, path)]
    name, inner = tool.get("name"), tool.get("tools")
    if not isinstance(name, str) or not name:
        raise bad_request(f"{path}.name: must be the namespace's name, got {_shown(name)}", f"{path}.name")
    if not isinstance(inner, list) or not all(isinstance(one, dict) for one in inner):
        raise bad_request(f"{path}.tools: must be a list of functions", f"{path}.tools")
    found = [_tool(one, f"{path}.tools[{index}]") for index, one in enumerate(inner)]
    for one in found:
        one["function"]["name"] = flat_name(name, one["function"]["name"])
    return found


def _tool(tool: Given, path: str) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise bad_request(
            f"{path}.type: only 'function', there are no hosted tools here, got {_shown(tool.get('type'))}; give a function "
            "and run it in the client",
            f"{path}.type",
            "unsupported_value",
        )
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        raise bad_request(f"{path}.name: must be the function's name, got {_shown(tool.get('name'))}", f"{path}.name")
    given = {key: tool[key] for key in ("name", "description", "parameters", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": given}


def _allowed(choice: Given) -> set[str]:
    """The names in a choice of allowed tools."""
    tools = choice.get("tools")
    if choice.get("mode") not in ("auto", "required") or not isinstance(tools, list):
        raise _choice_fault()
    names = [tool.get("name") for tool in tools if isinstance(tool, dict)]
    if not names or not all(isinstance(name, str) for name in names):
        raise _choice_fault()
    return {str(name) for name in names}


def _choice_fault() -> ApiError:
    return bad_request(f"tool_choice: expected {_CHOICES}", "tool_choice")


def _shown(value: Any) -> str:
    """A value as an error shows it: short, on one line."""
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
