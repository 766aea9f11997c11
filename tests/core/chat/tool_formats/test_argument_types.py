"""Values of calls in XML, typed by the tool's schema."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from qwen_triton.chat.tool_formats.argument_types import ArgumentTypes, argument_types

TREE: dict[str, Any] = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}]}
CASES: list[tuple[Any, str, Any]] = [
    # schema, text, value
    ({"type": "string"}, "02134", "02134"),
    ({"type": "string"}, "null", "null"),
    ({"type": "string"}, ' {"a": 1}\n', ' {"a": 1}\n'),
    ({"type": "String"}, "5", "5"),
    ({}, "5", "5"),
    (None, "true", "true"),
    (True, "5", "5"),
    ("nonsense", "5", "5"),
    ({"type": "any"}, "[1]", "[1]"),
    ({"type": "integer"}, "5", 5),
    ({"type": "integer"}, "-5\n", -5),
    ({"type": "integer"}, "007", 7),
    ({"type": "integer"}, "+0", 0),
    ({"type": "integer"}, "12345678901234567890123", 12345678901234567890123),
    ({"type": "integer"}, "5.0", 5),
    ({"type": "integer"}, "5.5", "5.5"),
    ({"type": "integer"}, "five", "five"),
    ({"type": "integer"}, "", ""),
    ({"type": "integer"}, "５", "５"),
    ({"type": "integer"}, "1_000", "1_000"),
    ({"type": "integer"}, "null", None),
    ({"type": "integer"}, "None", None),
    ({"type": "long"}, "5", 5),
    ({"type": "number"}, "5", 5),
    ({"type": "number"}, "-0.50", -0.5),
    ({"type": "number"}, ".5", 0.5),
    ({"type": "number"}, "5.", 5.0),
    ({"type": "number"}, "1e3", 1000.0),
    ({"type": "number"}, "1e999", "1e999"),
    ({"type": "number"}, "nan", "nan"),
    ({"type": "float"}, "1.25", 1.25),
    ({"type": "boolean"}, "true", True),
    ({"type": "boolean"}, "False", False),
    ({"type": "boolean"}, "yes", "yes"),
    ({"type": "null"}, "NULL", None),
    ({"type": "null"}, "x", "x"),
    ({"type": "array"}, '[1, {"a": "北京"}]', [1, {"a": "北京"}]),
    ({"type": "array"}, "[1, 'a', True, None]", [1, "a", True, None]),
    ({"type": "array"}, '{"a": 1}', '{"a": 1}'),
    ({"type": "array"}, "[1, 2", "[1, 2"),
    ({"items": {"type": "integer"}}, "[1]", [1]),
    ({"type": "object"}, '{\n  "a": "x"\n}', {"a": "x"}),
    ({"type": "object"}, '{"a": "x\ny"}', {"a": "x\ny"}),
    ({"type": "object"}, '{"a": NaN}', '{"a": NaN}'),
    ({"type": "object"}, "{'a': {1, 2}}", "{'a': {1, 2}}"),
    ({"type": "object"}, "{'a': '\\ud83d'}", {"a": "\ud83d"}),
    ({"type": "object"}, "__import__('os')", "__import__('os')"),
    ({"type": "dict"}, "{'a': 'it''s'}", {"a": "its"}),
    ({"properties": {"a": {}}}, '{"a": 1}', {"a": 1}),
    ({"type": ["string", "null"]}, "null", None),
    ({"type": ["string", "null"]}, "None", "None"),
    ({"type": ["string", "null"]}, "5", "5"),
    ({"type": ["integer", "string"]}, "02134x", "02134x"),
    ({"type": ["string", "integer"]}, "5", 5),
    ({"type": "string", "nullable": True}, "null", None),
    ({"anyOf": [{"type": "string"}, {"type": "integer"}]}, "5", 5),
    ({"oneOf": [{"type": "object"}, {"type": "boolean"}]}, "True", True),
    ({"allOf": [{"type": "integer"}, {"minimum": 3}]}, "5", 5),
    ({"anyOf": [{"anyOf": [{"type": "array"}]}, {"type": "null"}]}, "[]", []),
    ({"enum": ["1", 2]}, "1", "1"),
    ({"enum": ["1", 2]}, "2", 2),
    ({"enum": ["celsius", "fahrenheit"]}, "celsius", "celsius"),
    ({"const": 3}, "3", 3),
    ({"$ref": "#/$defs/count"}, "5", 5),
    ({"$ref": "#/$defs/missing"}, "5", "5"),
    ({"$ref": "https://example.com/schema"}, "5", "5"),
    (TREE, '{"next": null}', {"next": None}),
    (TREE, "null", None),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "text", "value"), CASES)
def test_a_value_has_the_type_of_its_schema(schema: Any, text: str, value: Any) -> None:
    """What fits no type is text."""
    definitions = {"node": {"type": "object", "properties": {"next": TREE}}, "count": {"type": "integer"}}
    types = ArgumentTypes({"type": "object", "properties": {"a": schema}, "$defs": definitions})
    written = types.to_json("a", text)
    found = json.loads(written)
    assert (found, type(found)) == (value, type(value))
    written.encode()


def test_an_unknown_parameter_is_text() -> None:
    """So is every parameter of a function that nobody described."""
    described = ArgumentTypes({"properties": {"a": {"type": "integer"}}})
    assert (described.is_text("a"), described.is_text("b")) == (False, True)
    assert (described.may_have("a"), described.may_have("b")) == (True, False)
    for schema in (None, {}, {"properties": 3}, [], "x"):
        assert ArgumentTypes(schema).is_text("a")
        assert ArgumentTypes(schema).may_have("a")


def test_a_schema_that_refers_to_itself_ends() -> None:
    """Also one with more alternatives than anybody has."""
    loop = {"$ref": "#/properties/a", "anyOf": [{"$ref": "#/properties/a"}] * 1000}
    assert ArgumentTypes({"properties": {"a": loop}}).to_json("a", "5") == '"5"'


HUGE = ["0" * 200_000 + "x", "1" * 200_000 + "x", "-" * 100_000, "[" * 200_000, "{'a':" * 20_000, "1" * 200_000]


@pytest.mark.parametrize("text", HUGE, ids=lambda text: text[:5])
def test_a_long_value_is_read_at_once(text: str) -> None:
    """However it breaks: 200,000 characters in well under a second each."""
    types = ArgumentTypes({"properties": {"a": {"type": ["integer", "number", "array", "object", "string"]}}})
    began = time.process_time()
    written = types.to_json("a", text)
    assert written.strip('"') == text
    assert time.process_time() - began < 5


def test_tools_in_either_form() -> None:
    """As OpenAI wraps them, and bare; what is none is left out."""
    function = {"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}}
    for tool in ({"type": "function", "function": function}, function):
        assert argument_types([tool])["f"].to_json("a", "5") == "5"
    assert argument_types([{"function": 3}, {"function": {"name": 3}}, {}]) == {}
