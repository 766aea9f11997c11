"""Plan of a message: a body in the words of /v1/chat/completions, of which the plan of a chat makes the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qwen_triton.tensors.contract import CHAT_TEMPLATE_KWARGS, INPUT_IDS, STOP_WORDS, TEXT_INPUT

from ...errors import bad_request
from ...settings import ShimSettings
from ..chat_plan import ChatPlan, plan_chat
from .conversation import chat_messages, continues_last, wrong
from .tools import chat_tool_choice, chat_tools

NAMES = {
    TEXT_INPUT: "messages",
    INPUT_IDS: "messages",
    STOP_WORDS: "stop_sequences",
    "stop": "stop_sequences",
    CHAT_TEMPLATE_KWARGS: "thinking",
    "response_format": "output_config.format",
}
"""The model's and the chat's name of a parameter → this API's."""

_SAME = ("max_tokens", "temperature", "top_k", "top_p", "stream")
_THINKING = ("enabled", "adaptive", "disabled")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_USUAL_EFFORT = "high"
_TAKEN_EDIT = "clear_thinking_"


def plan_message(given: Mapping[str, Any], settings: ShimSettings) -> ChatPlan:
    """The plan for the parameters of a message, or of a count of its tokens. Raises ApiError.

    A stream's first piece has the counts of the prompt, which the first event of a message shows.
    """
    chat = {name: given[name] for name in _SAME if name in given}
    chat["messages"] = chat_messages(given.get("system"), given["messages"])
    if continues_last(given["messages"]):
        chat["continue_final_message"] = True
    if "stop_sequences" in given:
        chat["stop"] = given["stop_sequences"]
    if tools := given.get("tools"):
        chat["tools"] = chat_tools(tools)
    if "tool_choice" in given:
        chat |= chat_tool_choice(given["tool_choice"])
    _check_edits(given.get("context_management", {}))
    chat |= _thinking(given.get("thinking", {"type": "disabled"}), _output_config(given.get("output_config", {}), chat))
    plan = plan_chat(chat, settings, NAMES)
    return plan._replace(request=replace(plan.request, count_first=plan.request.stream))


def shows_thinking(given: Mapping[str, Any]) -> bool:
    """Whether thinking blocks have their text."""
    return bool(given.get("thinking", {}).get("display") != "omitted")


def _thinking(thinking: Mapping[str, Any], effort: str) -> dict[str, Any]:
    """The options of the chat template. As an effort thinking is turned on only where a template has the choice."""
    kind = thinking.get("type")
    if kind not in _THINKING:
        raise wrong("thinking.type", f"one of {', '.join(_THINKING)}", kind)
    for key, value in thinking.items():
        _check_thinking(key, value)
    return {"enable_thinking": False} if kind == "disabled" else {"reasoning_effort": effort}


def _check_thinking(key: str, value: Any) -> None:
    path = f"thinking.{key[:200]}"
    if key == "budget_tokens":
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise wrong(path, "a number of tokens", value)
    elif key == "display":
        if value not in (None, "summarized", "omitted"):
            raise wrong(path, "summarized or omitted", value)
    elif key != "type":
        raise bad_request(f"{path}: unknown; leave it out", path, "unknown_parameter")


def _output_config(config: Mapping[str, Any], chat: dict[str, Any]) -> str:
    """The effort that a body asks for. Its format goes to `chat`, as OpenAI's API has it."""
    for key, value in config.items():
        if key == "format" and value is not None:
            chat["response_format"] = {"type": "json_schema", "json_schema": value}
        elif key == "effort" and value not in (None, *_EFFORTS):
            raise wrong("output_config.effort", f"one of {', '.join(_EFFORTS)}", value)
        elif key not in ("format", "effort"):
            path = f"output_config.{key[:200]}"
            raise bad_request(f"{path}: unknown; leave it out", path, "unknown_parameter")
    return config.get("effort") or _USUAL_EFFORT


def _check_edits(management: Mapping[str, Any]) -> None:
    """Earlier thinking is left out by the templates; nothing else of a prompt is edited here."""
    for key, value in management.items():
        path = f"context_management.{key[:200]}"
        if key != "edits" or not isinstance(value, list):
            raise bad_request(f"{path}: only edits, a list, is known here", path, "unknown_parameter")
        for index, edit in enumerate(value):
            kind = edit.get("type") if isinstance(edit, dict) else edit
            if not isinstance(kind, str) or not kind.startswith(_TAKEN_EDIT):
                shown = kind[:60] if isinstance(kind, str) else type(kind).__name__
                message = f"{path}[{index}]: {shown!r} is not done here; send the messages as they are to be"
                raise bad_request(message, f"{path}[{index}]", "unsupported_value")
