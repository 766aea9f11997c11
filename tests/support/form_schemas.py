"""A table of JSON schemas that all engines keep, by name: every keyword, nested, in both languages, and odd ones."""

from __future__ import annotations

from typing import Any


def _object(required: bool = True, **properties: Any) -> dict[str, Any]:
    names = {"required": list(properties)} if required else {}
    return {"type": "object", "properties": properties, **names, "additionalProperties": False}


_TEXT, _INT = {"type": "string"}, {"type": "integer"}
_TREE = {
    "$defs": {
        "node": _object(name=_TEXT, children={"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2})
    },
    "$ref": "#/$defs/node",
}

SCHEMAS: dict[str, Any] = {
    "empty": {},
    "true": True,
    "string": _TEXT,
    "integer": _INT,
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "null": {"type": "null"},
    "types": {"type": ["integer", "null"]},
    "types of all kinds": {"type": ["string", "number", "boolean", "null"]},
    "any object": {"type": "object"},
    "any array": {"type": "array"},
    "person": _object(name=_TEXT, age=_INT),
    "one property": _object(city=_TEXT),
    "all optional": _object(False, name=_TEXT, age=_INT, married={"type": "boolean"}),
    "some optional": {**_object(name=_TEXT, age=_INT, city=_TEXT), "required": ["age"]},
    "optional at the ends": {**_object(a=_INT, b=_INT, c=_INT, d=_INT), "required": ["b", "c"]},
    "nested": _object(person=_object(name=_TEXT, home=_object(city=_TEXT, zip={"type": "string", "pattern": "^[0-9]{5}$"}))),
    "five deep": _object(a=_object(b=_object(c=_object(d=_object(e={"type": "boolean"}))))),
    "array of strings": {"type": "array", "items": _TEXT, "maxItems": 4},
    "array of objects": {"type": "array", "items": _object(name=_TEXT, price={"type": "number"}), "minItems": 1, "maxItems": 3},
    "array of arrays": {"type": "array", "items": {"type": "array", "items": _INT, "maxItems": 3}, "maxItems": 3},
    "array of two": {"type": "array", "items": _INT, "minItems": 2, "maxItems": 2},
    "no items": {"type": "array", "maxItems": 0},
    "tuple": {"type": "array", "prefixItems": [_TEXT, _INT], "items": False, "minItems": 2},
    "tuple and more": {"type": "array", "prefixItems": [_TEXT], "items": _INT, "minItems": 2, "maxItems": 4},
    "tuple of draft 4": {"type": "array", "items": [_TEXT, _INT], "additionalItems": False, "minItems": 1},
    "unique items": {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 2, "maxItems": 3},
    "enum": {"enum": ["red", "green", "blue"]},
    "enum of kinds": {"enum": ["a", 1, 2.5, True, None, {"a": [1]}, []]},
    "enum with a type": {"type": "string", "enum": ["low", "high"]},
    "Chinese enum": _object(天气={"enum": ["晴", "雨", "雪", "多云"]}),
    "Chinese keys": _object(姓名=_TEXT, 年龄=_INT, 城市=_TEXT),
    "odd keys": _object(**{'a "b"': _INT, "c\\d": _INT, "e f": _INT, "": _INT, "😀": {"type": "boolean"}}),
    "const": _object(kind={"const": "event"}, version={"const": 2}),
    "const null": {"const": None},
    "reference": {
        "$defs": {"pos": {"type": "integer", "minimum": 1}},
        **_object(a={"$ref": "#/$defs/pos"}, b={"$ref": "#/$defs/pos"}),
    },
    "definitions": {"definitions": {"kind": {"enum": ["x", "y"]}}, **_object(kind={"$ref": "#/definitions/kind"})},
    "reference with keywords": {"$defs": {"n": _INT}, **_object(n={"$ref": "#/$defs/n", "minimum": 5, "description": "n"})},
    "tree": _TREE,
    "list": {
        "$defs": {"cell": _object(head=_INT, tail={"anyOf": [{"$ref": "#/$defs/cell"}, {"type": "null"}]})},
        "$ref": "#/$defs/cell",
    },
    "any of": {"anyOf": [_object(name=_TEXT), _object(id=_INT)]},
    "any of beside keywords": {**_object(False, a=_INT, b=_INT), "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
    "optional text": _object(note={"anyOf": [_TEXT, {"type": "null"}], "default": None}),
    "one of by type": {"oneOf": [_TEXT, _INT, {"type": "array", "items": _INT, "maxItems": 2}]},
    "one of by const": {
        "oneOf": [_object(kind={"const": "cat"}, lives=_INT), _object(kind={"const": "dog"}, name=_TEXT)],
        "discriminator": {"propertyName": "kind"},
    },
    "all of": {
        "allOf": [
            {"type": "object", "properties": {"a": _INT}, "required": ["a"]},
            {"properties": {"b": _TEXT}, "required": ["b"]},
        ]
    },
    "all of one": {"allOf": [_object(a=_INT)]},
    "map": {"type": "object", "additionalProperties": _INT},
    "map of one or two": {
        "type": "object", "additionalProperties": {"type": "boolean"}, "minProperties": 1, "maxProperties": 2,
    },
    "map by pattern": {
        "type": "object", "patternProperties": {"^[a-z]{2}$": _INT}, "additionalProperties": False, "maxProperties": 3,
    },
    "map by names": {
        "type": "object", "propertyNames": {"enum": ["de", "en", "zh"]}, "additionalProperties": _TEXT, "maxProperties": 3,
    },
    "properties and a map": {
        "type": "object", "properties": {"id": _INT}, "required": ["id"], "additionalProperties": {"type": "boolean"},
    },
    "required without properties": {"type": "object", "required": ["name"]},
    "minimum": {"type": "integer", "minimum": 18},
    "range": {"type": "integer", "minimum": -5, "maximum": 120},
    "exclusive range": {"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10},
    "negative range": {"type": "integer", "minimum": -1200, "maximum": -37},
    "draft 4 range": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 1},
    "share": {"type": "number", "minimum": 0, "maximum": 1},
    "decimal range": {"type": "number", "minimum": -1.25, "maximum": 3.75},
    "open range": {"type": "number", "exclusiveMinimum": 0.5},
    "upper bound": {"type": "number", "maximum": -2.5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 100},
    "even": {"type": "integer", "multipleOf": 2},
    "half steps": {"type": "number", "multipleOf": 0.5, "minimum": 0, "maximum": 5},
    "hundreds": {"type": "integer", "multipleOf": 100},
    "short text": {"type": "string", "minLength": 1, "maxLength": 8},
    "text of three": {"type": "string", "minLength": 3, "maxLength": 3},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,4}$"},
    "pattern anywhere": {"type": "string", "pattern": "ab+c"},
    "pattern of kinds": {"type": "string", "pattern": "^(?:\\d{1,3}(?:\\.\\d{1,3}){3}|\\w+@\\w+\\.(?:com|org))$"},
    "pattern with quotes": {"type": "string", "pattern": '^"[^"\\\\]{1,5}"\\\\$'},
    "pattern with a length": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 6},
    "Chinese pattern": {"type": "string", "pattern": "^[\u4e00-\u9fff]{2,4}$"},
    "date": {"type": "string", "format": "date"},
    "date-time": _object(at={"type": "string", "format": "date-time"}),
    "time": {"type": "string", "format": "time"},
    "duration": {"type": "string", "format": "duration"},
    "email": {"type": "string", "format": "email"},
    "uuid": {"type": "string", "format": "uuid"},
    "ipv4": {"type": "string", "format": "ipv4"},
    "ipv6": {"type": "string", "format": "ipv6"},
    "hostname": {"type": "string", "format": "hostname"},
    "uri": {"type": "string", "format": "uri"},
    "safe integer": {"type": "integer", "minimum": -9007199254740991, "maximum": 9007199254740991},
    "far bounds": {"type": "number", "minimum": -1e300, "exclusiveMaximum": 9223372036854775808},
    "from zero to far": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
    "annotations": {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "T", "description": "d", "x-order": 1,
        **_object(a={"type": "integer", "description": "the a", "examples": [1], "default": 0, "deprecated": False}),
    },
    "no type": {"properties": {"a": _INT}, "required": ["a"]},
    "bounds without a type": {"minimum": 3, "maximum": 9},
    "true properties": {"type": "object", "properties": {"a": True}, "required": ["a"], "additionalProperties": False},
    "false property": {
        "type": "object", "properties": {"a": _INT, "b": False}, "required": ["a"], "additionalProperties": False,
    },
    "report": _object(
        title={"type": "string", "maxLength": 20},
        tags={"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 2},
        author=_object(name=_TEXT, email={"anyOf": [{"type": "string", "format": "email"}, {"type": "null"}]}),
        score={"type": "number", "minimum": 0, "maximum": 10},
        state={"type": "string", "enum": ["new", "done"]},
    ),
}  # fmt: skip
"""All are valid schemas of draft 2020-12, except those named after draft 4."""

BAD_SCHEMAS: dict[str, tuple[Any, str]] = {
    "no schema": ([], "#"),
    "a type that is none": ({"type": "text"}, "#/type"),
    "an unknown keyword": ({"type": "object", "properties": {"a": {"not": {"type": "string"}}}}, "#/properties/a/not"),
    "if": ({"if": {"type": "string"}, "then": {"maxLength": 1}}, "#/if"),
    "contains": ({"type": "array", "contains": {"type": "integer"}}, "#/contains"),
    "dependencies": ({"type": "object", "dependentRequired": {"a": ["b"]}}, "#/dependentRequired"),
    "a reference to nothing": ({"$ref": "#/$defs/a"}, "#/$ref"),
    "a reference elsewhere": ({"properties": {"a": {"$ref": "https://example.org/a.json"}}}, "#/properties/a/$ref"),
    "itself without end": ({"$ref": "#"}, "json_schema"),
    "itself, required": ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "json_schema"),
    "false": (False, "json_schema"),
    "an empty enum": ({"properties": {"a": {"enum": []}}}, "#/properties/a/enum"),
    "an enum of another type": ({"type": "integer", "enum": ["a"]}, "#/enum"),
    "lengths in the wrong order": ({"type": "string", "minLength": 3, "maxLength": 2}, "#/maxLength"),
    "counts in the wrong order": ({"type": "array", "minItems": 3, "maxItems": 2}, "#/maxItems"),
    "a length of text": ({"type": "string", "maxLength": "9"}, "#/maxLength"),
    "a negative length": ({"type": "string", "minLength": -1}, "#/minLength"),
    "a minimum of text": ({"type": "object", "properties": {"n": {"minimum": "0"}}}, "#/properties/n/minimum"),
    "a minimum beyond all digits": ({"type": "number", "minimum": 1e15}, "#/minimum"),
    "a maximum below all digits": ({"type": "integer", "exclusiveMaximum": -(10**400)}, "#/maximum"),
    "nothing within bounds": ({"type": "integer", "minimum": 3, "maximum": 2}, "json_schema"),
    "a broken pattern": ({"type": "string", "pattern": "^(a"}, "#/pattern"),
    "lookahead": ({"type": "string", "pattern": "^(?=a).*$"}, "#/pattern"),
    "a back reference": ({"type": "string", "pattern": "(a)\\1"}, "#/pattern"),
    "a pattern with another length": ({"type": "string", "pattern": "^(?:ab)+$", "maxLength": 9}, "#/pattern"),
    "an unknown format": ({"type": "string", "format": "iban"}, "#/format"),
    "format and pattern": ({"type": "string", "format": "date", "pattern": "^2"}, "#/pattern"),
    "unique items": ({"type": "array", "items": {"type": "integer"}, "uniqueItems": True}, "#/uniqueItems"),
    "a multiple without bounds": ({"type": "integer", "multipleOf": 7}, "#/multipleOf"),
    "a decimal multiple": ({"type": "number", "multipleOf": 0.01}, "#/multipleOf"),
    "one of that overlaps": ({"oneOf": [{"type": "string"}, {"type": "string", "maxLength": 3}]}, "#/oneOf/1"),
    "all of that disagrees": ({"allOf": [{"pattern": "a"}, {"pattern": "b"}]}, "#/allOf/1/pattern"),
    "many properties": ({"type": "object", "minProperties": 2}, "#/minProperties"),
    "two patterns": ({"patternProperties": {"^a": {}, "b$": {}}}, "#/patternProperties"),
    "properties that are a list": ({"properties": ["a"]}, "#/properties"),
    "required that is a text": ({"type": "object", "required": "a"}, "#/required"),
    "required and not allowed": ({"type": "object", "required": ["a"], "additionalProperties": False}, "#/required"),
    "an endless text": ({"type": "string", "maxLength": 100_000}, "json_schema"),
}
"""Schemas that are refused, with the place that the refusal names."""
