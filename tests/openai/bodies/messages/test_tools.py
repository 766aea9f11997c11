"""Tools and tool choice of Anthropic's API in OpenAI's form."""

from __future__ import annotations

from typing import Any

import pytest

from qwen_triton_openai.bodies.messages.tools import chat_tool_choice, chat_tools
from qwen_triton_openai.errors import ApiError

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"name": "get_weather", "description": "The weather of a city.", "input_schema": SCHEMA}


def test_a_tool() -> None:
    """What asks for nothing here is left out of it; examples are a part of the schema, where JSON Schema has them."""
    function = {"name": "get_weather", "description": "The weather of a city.", "parameters": SCHEMA}
    more = {
        "type": "custom",
        "cache_control": {"type": "ephemeral"},
        "eager_input_streaming": True,
        "strict": False,
        "defer_loading": False,
        "allowed_callers": ["direct"],
    }
    assert chat_tools([TOOL]) == [{"type": "function", "function": function}]
    assert chat_tools([{**TOOL, **more}]) == chat_tools([TOOL])
    assert chat_tools([{**TOOL, "strict": True}])[0]["function"] == {**function, "strict": True}
    [found] = chat_tools([{"name": "f", "input_schema": {}, "input_examples": [{"a": 1}], "description": None}])
    assert found["function"] == {"name": "f", "parameters": {"examples": [{"a": 1}]}}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"type": "auto"}, ("auto", True)),
        ({"type": "any"}, ("required", True)),
        ({"type": "none"}, ("none", True)),
        ({"type": "tool", "name": "f"}, ({"type": "function", "function": {"name": "f"}}, True)),
        ({"type": "auto", "disable_parallel_tool_use": True}, ("auto", False)),
        ({"type": "any", "disable_parallel_tool_use": None}, ("required", True)),
    ],
)
def test_a_choice(choice: dict[str, Any], expected: tuple[Any, bool]) -> None:
    found = chat_tool_choice(choice)
    assert (found["tool_choice"], found["parallel_tool_calls"]) == expected


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("f", "tools[0]: must be an object, got 'f'"),
        ({"type": "web_search_20250305", "name": "web_search"},
         "tools[0].type: 'web_search_20250305' is a tool of Anthropic's own models or servers; give a tool of your own with "
         "name, description and input_schema"),
        ({"input_schema": {}}, "tools[0].name: must be the tool's name, got None"),
        ({"name": "", "input_schema": {}}, "tools[0].name: must be the tool's name, got ''"),
        ({"name": "f"}, "tools[0].input_schema: must be a JSON schema, got None"),
        ({"name": "f", "input_schema": [1]}, "tools[0].input_schema: must be a JSON schema, got list"),
        ({**TOOL, "description": 7}, "tools[0].description: must be a text, got 7"),
        ({**TOOL, "strict": "yes"}, "tools[0].strict: must be true or false, got 'yes'"),
        ({**TOOL, "defer_loading": True}, "tools[0].defer_loading: every tool is in the prompt; leave it out"),
        ({**TOOL, "wat": 1}, "tools[0].wat: unknown; leave it out"),
    ],
)  # fmt: skip
def test_a_tool_that_cannot_be_offered_is_named(tool: Any, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat_tools([tool])
    assert (caught.value.status, caught.value.message) == (400, message)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"type": "required"}, "tool_choice.type: must be auto, any, tool or none, got 'required'"),
        ({}, "tool_choice.type: must be auto, any, tool or none, got None"),
        ({"type": []}, "tool_choice.type: must be auto, any, tool or none, got list"),
        ({"type": "tool"}, "tool_choice.name: must be the name of one of the tools, got None"),
        ({"type": "auto", "disable_parallel_tool_use": "x"},
         "tool_choice.disable_parallel_tool_use: must be true or false"),
        ({"type": "auto", "wat": 1}, "tool_choice.wat: unknown"),
    ],
)  # fmt: skip
def test_a_choice_that_is_none_is_named(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ApiError) as caught:
        chat_tool_choice(choice)
    assert (caught.value.status, caught.value.message) == (400, message)
