"""A choice of tools: the tools that a prompt shows, and the call that its answer must begin with."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import InvalidRequest
from ..types import Form, ToolChoice
from .forms.compile import FormBounds, form_grammar
from .forms.latest import LatestTexts
from .forms.structural_tags import form_part
from .tool_formats.tool_format import OPEN, ToolFormat, function_of
from .tool_formats.untold import Untold


def check_tool_choice(choice: ToolChoice, tools: Sequence[Mapping[str, Any]]) -> None:
    """Raises InvalidRequest for a choice that does not fit the tools."""
    if choice.forced and not tools:
        raise InvalidRequest("only with tools", "tool_choice")
    if choice.mode == "named" and choice.name not in _names(tools):
        raise InvalidRequest("names a function that is not in tools", "tool_choice")


def forced_beginning(choice: ToolChoice, tools: Sequence[Mapping[str, Any]], tool_format: ToolFormat) -> str:
    """The text that the answer begins with so that it is a call, "" where the choice forces none.

    It has the function's name where only one is possible.
    """
    return tool_format.beginning(_forced_name(choice, tools)) if choice.forced else ""


def format_of_forced(choice: ToolChoice, tools: Sequence[Mapping[str, Any]], tool_format: ToolFormat) -> ToolFormat:
    """The format to read an answer in: one that is not told reads a forced call in either."""
    if choice.forced and isinstance(tool_format, Untold):
        return tool_format.forced(_forced_name(choice, tools))
    return tool_format


def _forced_name(choice: ToolChoice, tools: Sequence[Mapping[str, Any]]) -> str | None:
    names = _names(tools)
    return choice.name or (names[0] if len(names) == 1 else None)


def _names(tools: Sequence[Mapping[str, Any]]) -> list[Any]:
    return [function_of(tool).get("name") for tool in tools]


def wants_strict(tools: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a tool asks for arguments that keep its schema."""
    return any(function_of(tool).get("strict") is True for tool in tools)


def calls_form(
    choice: ToolChoice,
    tools: Sequence[Mapping[str, Any]],
    tool_format: ToolFormat,
    form: Form | None,
    bounds: FormBounds,
    *,
    single: bool,
) -> Form | None:
    """The form of an answer with tools: `form` where that says nothing more.

    A forced call, and each call where a tool is strict, keeps its tool's schema, and beside `form` an answer may be calls.
    The arguments of a tool that is not strict, and whose schema is not kept, are any object. Raises InvalidRequest for a
    strict one whose schema is not kept. `single`: there is one call at most.
    """
    if not tools or choice.mode == "none" or not (choice.forced or form or wants_strict(tools)):
        return form
    tags = [
        _tag(tool, index, tool_format, bounds)
        for index, tool in enumerate(tools)
        if choice.mode != "named" or function_of(tool).get("name") == choice.name
    ]
    whole: dict[str, Any]
    if choice.forced:
        begun = len(forced_beginning(choice, tools, tool_format))
        first = {"type": "or", "elements": [tag | {"begin": tag["begin"][begun:]} for tag in tags]}
        whole = first if single else {"type": "sequence", "elements": [first, _more(tags)]}
    elif form is None:
        whole = {"type": "triggered_tags", "triggers": [OPEN], "tags": tags, "stop_after_first": single}
    else:
        calls = {
            "type": "tags_with_separator",
            "tags": tags,
            "separator": "\n",
            "at_least_one": True,
            "stop_after_first": single,
        }
        whole = {"type": "or", "elements": [form_part(form), calls]}
    return Form("structural_tag", json.dumps({"type": "structural_tag", "format": whole}, ensure_ascii=False))


def _more(tags: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Further calls, each on a line of its own."""
    return {
        "type": "tags_with_separator",
        "separator": "",
        "tags": [{**tag, "begin": f"\n{tag['begin']}"} for tag in tags],
    }


def _tag(tool: Mapping[str, Any], index: int, tool_format: ToolFormat, bounds: FormBounds) -> dict[str, Any]:
    call = tool_format.form(tool)
    kind = "json_schema" if call.arguments == "json" else "qwen_xml_parameter"
    content: dict[str, Any] = {"type": kind, "json_schema": dict(call.schema)}
    part = {"type": "structural_tag", "format": content}
    if reason := _not_kept(json.dumps(part, ensure_ascii=False), bounds):
        if function_of(tool).get("strict") is True:
            raise InvalidRequest(f"strict, and its schema is not kept: {reason}", f"tools[{index}]")
        content = (
            {"type": "json_schema", "json_schema": {"type": "object"}}
            if kind == "json_schema"
            else {"type": "any_text"}
        )
    return {"type": "tag", "begin": call.begin, "content": content, "end": call.end}


_NOT_KEPT = LatestTexts(most=256, most_bytes=4 << 20)
"""Why schemas of tools are not kept: the same tools come with every request of an agent."""


def _not_kept(spec: str, bounds: FormBounds) -> str:
    """Why arguments of this form are not kept, "" if they are."""

    def reason() -> str:
        try:
            form_grammar(Form("structural_tag", spec), bounds)
        except InvalidRequest as error:
            return str(error).partition(": ")[2]
        return ""

    return _NOT_KEPT.get(spec, bounds, reason)
