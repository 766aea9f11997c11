"""Values of a call that are written as text, typed by the JSON schema of the function's parameters.

The rules, which are those of Qwen's own parser where it has any:

 1. A parameter whose schema allows text alone is the text itself. So is one that no schema describes.
 2. Any other value is written as JSON of the first type that it fits: null, boolean, integer, number, object, array. Python's
    spellings count, since templates write past calls with them: `True`, `None`, `{'a': 1}`.
 3. A value that fits none of its types is text, so that no call is lost.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from .tool_call_json import is_sendable

TEXT = "string"
_SCHEMAS_READ = 256
"""The most schemas that are read for one parameter; alternatives and references beyond are left out."""
_PYTHON_CHARACTERS = 20_000
"""The longest list or mapping that is read as Python writes it."""
_TYPES = (
    ("string", ("str", "text", "varchar", "char", "enum")),
    ("integer", ("int", "uint", "long", "short", "unsigned")),
    ("number", ("num", "float", "double", "decimal")),
    ("boolean", ("bool", "binary")),
    ("object", ("object", "dict", "map", "hashmap")),
    ("array", ("arr", "list", "tuple")),
    ("null", ("null", "none")),
)
"""JSON's types, and how the names begin that tools give them."""
_OF_VALUE = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LOOSE_INTEGER = re.compile(r"[+-]?[0-9]+")
_LOOSE_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_EXACT = 2**53


@dataclass(frozen=True, slots=True)
class _Shape:
    """What one parameter may be: JSON's types, and the texts among the values that its schema lists."""

    types: frozenset[str]
    texts: frozenset[str]


class ArgumentTypes:
    """The parameters of one function; `schema` is the JSON schema of its arguments."""

    __slots__ = ("_properties", "_root", "_shapes")

    def __init__(self, schema: object) -> None:
        self._root = schema if isinstance(schema, Mapping) else {}
        properties = self._root.get("properties")
        self._properties = properties if isinstance(properties, Mapping) else {}
        self._shapes: dict[str, _Shape] = {}

    def may_have(self, name: str) -> bool:
        """Whether a parameter of that name is described; of a function without a description any may be."""
        return not self._properties or name in self._properties

    def is_text(self, name: str) -> bool:
        """Whether the parameter's value is text whatever it says."""
        return self._shape(name).types <= {TEXT}

    def to_json(self, name: str, text: str) -> str:
        """The JSON text of the parameter's value."""
        shape = self._shape(name)
        value = text.strip()
        if shape.types <= {TEXT} or value in shape.texts:
            return json.dumps(text if shape.types <= {TEXT} else value, ensure_ascii=False)
        found = (_READERS[kind](value) for kind in _READERS if kind in shape.types)
        written = next((json_text for json_text in found if json_text is not None), None)
        if written is None and TEXT not in shape.types and (value == "None" or _null(value)):
            written = "null"
        return json.dumps(text, ensure_ascii=False) if written is None else written

    def _shape(self, name: str) -> _Shape:
        if name not in self._shapes:
            self._shapes[name] = _shape_of(self._properties.get(name), self._root)
        return self._shapes[name]


def argument_types(tools: Iterable[Mapping[str, Any]]) -> dict[str, ArgumentTypes]:
    """{function's name: its parameters} of tools as OpenAI writes them, or of bare functions."""
    functions = (tool.get("function", tool) for tool in tools)
    return {
        name: ArgumentTypes(function.get("parameters"))
        for function in functions
        if isinstance(function, Mapping) and isinstance(name := function.get("name"), str)
    }


def _shape_of(schema: object, root: Mapping[str, Any]) -> _Shape:
    """Of a schema with all its alternatives and references; without a type it is text."""
    types: set[str] = set()
    texts: set[str] = set()
    waiting, read = [schema], 0
    while waiting and read < _SCHEMAS_READ:
        node = waiting.pop()
        read += 1
        if not isinstance(node, Mapping):
            continue
        types |= _own_types(node)
        texts.update(value for value in _listed(node) if isinstance(value, str))
        waiting += (_referenced(node["$ref"], root),) if "$ref" in node else ()
        for key in ("anyOf", "oneOf", "allOf"):
            waiting += node[key] if isinstance(node.get(key), list) else ()
    return _Shape(frozenset(types or {TEXT}), frozenset(texts))


def _own_types(schema: Mapping[str, Any]) -> set[str]:
    """The types that a schema itself names, or that its listed values or its keywords have."""
    named = schema.get("type")
    types = {_json_type(name) for name in (named if isinstance(named, list) else [named]) if isinstance(name, str)}
    if not types:
        types = {_OF_VALUE.get(type(value), "null") for value in _listed(schema)}
    if not types:
        types = {kind for key, kind in (("properties", "object"), ("items", "array")) if key in schema}
    if schema.get("nullable") is True:
        types.add("null")
    return types


def _json_type(name: str) -> str:
    lowered = name.strip().lower()
    return next((kind for kind, beginnings in _TYPES if lowered.startswith(beginnings)), TEXT)


def _listed(schema: Mapping[str, Any]) -> list[Any]:
    """The values that are all there are."""
    values = schema.get("enum")
    return [*(values if isinstance(values, list) else ()), *([schema["const"]] if "const" in schema else ())]


def _referenced(reference: object, root: Mapping[str, Any]) -> object:
    """The schema that a reference within the tool's own schema means; None for any other."""
    if not isinstance(reference, str) or not reference.startswith("#"):
        return None
    found: object = root
    for part in reference[1:].split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _null(value: str) -> str | None:
    return "null" if value.lower() == "null" else None


def _boolean(value: str) -> str | None:
    return value.lower() if value.lower() in ("true", "false") else None


def _integer(value: str) -> str | None:
    if _INTEGER.fullmatch(value):
        return value
    if _LOOSE_INTEGER.fullmatch(value):
        return ("-" if value[0] == "-" else "") + (value.lstrip("+-").lstrip("0") or "0")
    if _LOOSE_NUMBER.fullmatch(value) and abs(number := float(value)) < _EXACT and number.is_integer():
        return str(int(number))
    return None


def _number(value: str) -> str | None:
    if not _LOOSE_NUMBER.fullmatch(value) or not math.isfinite(number := float(value)):
        return None
    return value if _NUMBER.fullmatch(value) else repr(number)


def _structured(opening: str, kind: type[Any]) -> Callable[[str], str | None]:
    """A reader of objects or arrays: JSON, with line ends in strings, or as Python writes it."""

    def read(value: str) -> str | None:
        if not value.startswith(opening):
            return None
        try:
            return value if isinstance(_loads(value), kind) else None
        except (ValueError, RecursionError):
            pass
        for loads in (_loads_loosely, _python_value):
            try:
                found = loads(value)
                if isinstance(found, kind):
                    return _dumps(found)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                continue
        return None

    return read


def _loads(text: str) -> Any:
    return json.loads(text, parse_constant=_refuse)


def _loads_loosely(text: str) -> Any:
    return json.loads(text, strict=False, parse_constant=_refuse)


def _python_value(text: str) -> Any:
    if len(text) > _PYTHON_CHARACTERS:
        raise ValueError("too long")
    return ast.literal_eval(text)


def _dumps(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if is_sendable(text) else json.dumps(value)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


_READERS: Mapping[str, Callable[[str], str | None]] = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "object": _structured("{", dict),
    "array": _structured("[", list),
}
"""By type, in the order in which they are tried: the JSON text of a value that fits, None for one that does not."""
