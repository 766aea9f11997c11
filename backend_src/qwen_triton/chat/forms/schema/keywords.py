"""The table of JSON Schema's keywords: which are kept, what their values must be, and which say nothing about values.

A keyword that is in neither table is refused by name, on every engine alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..faults import fault
from ..grammar import Node, Ref

ANNOTATIONS = frozenset(
    {
        *(
            "$schema",
            "$id",
            "$comment",
            "$defs",
            "definitions",
            "title",
            "description",
            "default",
            "example",
            "examples",
        ),
        *("deprecated", "readOnly", "writeOnly", "discriminator", "strict"),
    }
)
"""They change no answer. `discriminator` is OpenAPI's hint beside oneOf, `strict` is OpenAI's beside a tool's parameters."""

_Check = Callable[[Any], bool]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and abs(value) < 1e15


def _is_any_number(value: Any) -> bool:
    return (isinstance(value, int) and not isinstance(value, bool)) or (
        isinstance(value, float) and math.isfinite(value)
    )


def _is_bound(value: Any) -> bool:
    return isinstance(value, bool) or _is_any_number(value)


def is_schema(value: Any) -> bool:
    """Whether a value may be a schema."""
    return isinstance(value, dict | bool)


def _is_schemas(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(is_schema, value))


def _is_properties(value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_schema, value.values()))


TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")


def _is_type(value: Any) -> bool:
    return value in TYPES if isinstance(value, str) else isinstance(value, list) and all(v in TYPES for v in value)


_COUNT = (_is_count, "expected a whole number from 0")
_NUMBER = (_is_any_number, "expected a number")
_BOUND = (_is_bound, "expected a number")
_SCHEMA = (is_schema, "expected a schema: an object, true or false")
_SCHEMAS = (_is_schemas, "expected a list of schemas, not empty")
_PROPERTIES = (_is_properties, "expected an object of schemas by name")
_TEXT = (lambda value: isinstance(value, str), "expected a text")
_FLAG = (lambda value: isinstance(value, bool), "expected true or false")
_LIST = (lambda value: isinstance(value, list), "expected a list")
_NAMES = (lambda v: isinstance(v, list) and all(isinstance(n, str) for n in v), "expected a list of names")


class PartCompiler(Protocol):
    """What the keywords of one type need of the compiler of a whole schema."""

    def value(self, schema: Mapping[str, Any] | bool, place: str) -> Node:
        """The instances of a part of the schema."""

    def flat(self, schema: Mapping[str, Any], place: str) -> Mapping[str, Any]:
        """A part with its references and allOf merged into it."""

    def rule(self, node: Node, kind: str) -> Ref:
        """A new rule for a node."""

    def text(self, most: int) -> Node:
        """Up to `most` characters of a JSON string and its closing quote."""


OBJECT = (
    "properties",
    "required",
    "additionalProperties",
    "unevaluatedProperties",
    "patternProperties",
    "propertyNames",
)
ARRAY = ("items", "prefixItems", "additionalItems", "minItems", "maxItems", "uniqueItems")
STRING = ("minLength", "maxLength", "pattern", "format")
NUMERIC = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
COUNTS = ("minProperties", "maxProperties")

KEPT: Mapping[str, tuple[_Check, str]] = {
    "type": (_is_type, f"expected one of {', '.join(TYPES)}, or a list of them"),
    "enum": _LIST,
    "const": (lambda _: True, ""),
    "$ref": _TEXT,
    "anyOf": _SCHEMAS,
    "oneOf": _SCHEMAS,
    "allOf": _SCHEMAS,
    "properties": _PROPERTIES,
    "required": _NAMES,
    "additionalProperties": _SCHEMA,
    "unevaluatedProperties": (lambda v: v is False, "only false is kept"),
    "patternProperties": _PROPERTIES,
    "propertyNames": _SCHEMA,
    "minProperties": _COUNT,
    "maxProperties": _COUNT,
    "items": (lambda v: is_schema(v) or _is_schemas(v) or v == [], "expected a schema, or a list of them"),
    "prefixItems": _SCHEMAS,
    "additionalItems": _SCHEMA,
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "uniqueItems": _FLAG,
    "minLength": _COUNT,
    "maxLength": _COUNT,
    "pattern": _TEXT,
    "format": _TEXT,
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _BOUND,
    "exclusiveMaximum": _BOUND,
    "multipleOf": (lambda v: _is_number(v) and v > 0, "expected a number above 0 and below 1e15"),
}
"""Keyword → the check of its value, and what is expected."""


def check_keywords(schema: Mapping[str, Any], place: str) -> None:
    """Raises InvalidRequest, naming the place, for a keyword that is not kept or a value that is none of its own."""
    for name, value in schema.items():
        if name in ANNOTATIONS or name.startswith("x-"):
            continue
        if name not in KEPT:
            raise fault(
                f"{place}/{name[:200]}", "no engine keeps this keyword; leave it out, and check the answer for it"
            )
        holds, expected = KEPT[name]
        if not holds(value):
            raise fault(f"{place}/{name}", f"{expected}, got {str(value)[:100]!r}")


def constraints(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without its annotations."""
    return {name: value for name, value in schema.items() if name not in ANNOTATIONS and not name.startswith("x-")}


def kinds_of(schema: Mapping[str, Any]) -> tuple[str, ...]:
    """The types that a schema allows: those that its keywords are about where it names none, all where it has neither."""
    given = schema.get("type")
    if isinstance(given, str):
        return (given,)
    if given is not None:
        return tuple(kind for kind in dict.fromkeys(given) if not (kind == "integer" and "number" in given))
    about = (("object", (*OBJECT, *COUNTS)), ("array", ARRAY), ("string", STRING), ("number", NUMERIC))
    return tuple(kind for kind, names in about if any(name in schema for name in names)) or TYPES


def is_kind(value: Any, kind: str) -> bool:
    """Whether a JSON value has a type of JSON Schema."""
    if kind == "integer":
        return isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    kinds: dict[str, type] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    return isinstance(value, kinds[kind])
