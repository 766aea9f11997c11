"""Plan of a response: tools and their choice, formats, reasoning, and what the response repeats."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton.types import Form, ToolChoice
from qwen_triton_openai.bodies.body import check_parameters
from qwen_triton_openai.bodies.body_parameter import RESPONSES
from qwen_triton_openai.bodies.chat_plan import ChatPlan
from qwen_triton_openai.bodies.responses.plan import namespaces_of, plan_response, request_fields, without_hosted_tools
from qwen_triton_openai.errors import ApiError
from qwen_triton_openai.settings import ShimSettings

TOOL = {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": None}
OTHER = {"type": "function", "name": "g"}
CHAT_TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}


def planned(**given: Any) -> ChatPlan:
    return plan_response(check_parameters({"model": "qwen", "input": "hi"} | given, RESPONSES), ShimSettings())


def test_a_named_function_begins_the_answer() -> None:
    """As in a chat."""
    named = planned(tools=[TOOL, OTHER], tool_choice={"type": "function", "name": "f"})
    assert named.request.tool_choice == ToolChoice("named", "f")
    assert planned(tools=[TOOL], tool_choice="required").request.tool_choice == ToolChoice("required")
    assert named.request.tools == (CHAT_TOOL, {"type": "function", "function": {"name": "g"}})


def test_of_allowed_tools_the_model_sees_these_alone() -> None:
    """In either mode."""
    allowed = {"type": "allowed_tools", "tools": [{"type": "function", "name": "f"}]}
    auto = planned(tools=[TOOL, OTHER], tool_choice=allowed | {"mode": "auto"})
    assert (auto.request.tools, auto.request.tool_choice) == ((CHAT_TOOL,), ToolChoice())
    required = planned(tools=[TOOL, OTHER], tool_choice=allowed | {"mode": "required"})
    assert (required.request.tools, required.request.tool_choice) == ((CHAT_TOOL,), ToolChoice("required"))


def test_functions_of_a_namespace_are_functions_with_its_name() -> None:
    """As Codex sends those of its sub-agents; a call has both names again."""
    space = {"type": "namespace", "name": "agents", "description": "d", "tools": [OTHER, TOOL]}
    plan = planned(tools=[TOOL, space])
    assert [tool["function"]["name"] for tool in plan.request.tools] == ["f", "agents__g", "agents__f"]
    assert namespaces_of({"tools": [TOOL, space]}) == {"agents__g": ("agents", "g"), "agents__f": ("agents", "f")}
    assert request_fields({"model": "qwen", "tools": [space]}, ShimSettings())["tools"] == [space]


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        ({"tools": [TOOL, {"type": "web_search"}]}, "tools[1].type", "no hosted tools here, got 'web_search'; give a"),
        ({"tools": [{"type": "namespace"}]}, "tools[0].name", "must be the namespace's name"),
        ({"tools": [{"type": "namespace", "name": "a", "tools": ["x"]}]}, "tools[0].tools", "must be a list of functions"),
        ({"tools": [{"type": "namespace", "name": "a", "tools": [{"type": "mcp"}]}]}, "tools[0].tools[0].type", "only"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools[0].type", "only 'function'"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools[0].name", "must be the function's name"),
        ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "tool_choice", "expected none, auto, required"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "h"}}, "tool_choice", "names a function that is not in"),
        ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice", "expected none, auto, required"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice", "expected none"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": ["f"]}]}}, "tool_choice",
         "expected none"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"name": "z"}]}},
         "tool_choice.tools", "'z' is not in tools"),
        ({"tool_choice": "required"}, "tool_choice", "only with tools"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "expected text, json_object, json_schema"),
        ({"text": {"format": "text"}}, "text.format", "must be an object"),
        ({"text": {"fromat": {}}}, "text.fromat", "unknown; there are format, verbosity"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "must be one of none, minimal"),
        ({"reasoning": {"mode": "pro"}}, "reasoning.mode", "unknown; there are effort"),
        ({"reasoning": {"effort": "low"}, "chat_template_kwargs": {"reasoning_effort": "high"}}, "reasoning.effort",
         "chat_template_kwargs has another value of it"),
        ({"include": ["message.output_text.logprobs"]}, "include", "only /v1/chat/completions has log probs"),
        ({"input": []}, "input", ""),
        ({"input": [{"role": "user", "content": "a"}] * 2049}, "input", "2049 are more than the 2048"),
        ({"max_output_tokens": 0}, "max_output_tokens", ""),
        ({"max_output_tokens": 3, "min_tokens": 4}, "min_tokens", "must not be larger"),
        ({"temperature": 2.5}, "temperature", "must be in [0, 2]"),
        ({"chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs.chat_template", "leave it out"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_honoured_is_named(given: dict[str, Any], param: str, message: str) -> None:
    """In this API's words."""
    with pytest.raises(ApiError) as caught:
        planned(**given)
    assert (caught.value.status, caught.value.param) == (400, param)
    assert caught.value.message.startswith(f"{param.split('[')[0]}")
    assert message in caught.value.message


def test_the_format_of_the_text_is_the_form_of_the_answer() -> None:
    """A schema as a chat's wrapper has it; the response repeats it as it came."""
    schema = {"type": "json_schema", "name": "a", "strict": True, "schema": {"type": "null"}}
    assert planned(text={"format": schema}).request.form == Form("json_schema", '{"type": "null"}')
    assert planned(text={"format": {"type": "json_object"}}).request.form == Form("json_object")
    assert request_fields({"model": "qwen", "text": {"format": schema}}, ShimSettings())["text"] == {"format": schema}


def test_values_that_ask_for_nothing_are_taken() -> None:
    """As clients send them: nulls inside objects, and hints."""
    plain = planned().request
    assert planned(text={"format": {"type": "text"}, "verbosity": "low"}).request == plain
    assert (
        planned(reasoning={"effort": None, "summary": "auto"}, include=["reasoning.encrypted_content"]).request == plain
    )
    assert planned(tools=[], tool_choice="auto", parallel_tool_calls=False, store=False).request == plain


def test_hosted_tools_can_be_left_out() -> None:
    """Each named by its place."""
    given = {"tools": [{"type": "web_search"}, TOOL, {"type": "mcp"}], "input": "hi"}
    assert without_hosted_tools(given) == ({"tools": [TOOL], "input": "hi"}, ["tools[0]", "tools[2]"])
    assert without_hosted_tools({"input": "hi"}) == ({"input": "hi"}, [])


def test_the_response_repeats_its_request() -> None:
    """What was given, else what holds without it."""
    fields = request_fields({"model": "qwen"}, ShimSettings(temperature=0.5))
    assert (fields["temperature"], fields["top_p"], fields["tool_choice"], fields["tools"]) == (0.5, 1.0, "auto", [])
    assert (fields["store"], fields["text"], fields["metadata"]) == (False, {"format": {"type": "text"}}, {})
    given = {
        "model": "qwen",
        "tools": [OTHER],
        "metadata": {"a": "b"},
        "reasoning": {"effort": "low"},
        "temperature": 0.0,
    }
    fields = request_fields(given, ShimSettings())
    assert fields["tools"] == [
        {"type": "function", "name": "g", "description": None, "parameters": None, "strict": None}
    ]
    assert (fields["metadata"], fields["temperature"]) == ({"a": "b"}, 0.0)
    assert fields["reasoning"] == {"effort": "low", "summary": None}
