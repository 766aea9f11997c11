"""Arguments of a tool as Qwen3-Coder's templates write them: one XML element each, text as it is, all else as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .faults import fault
from .free_text import without
from .grammar import EMPTY, Lit, Node, Rep, alt, seq
from .regex import ANY, search_match
from .schema import json_text
from .schema.json_schema import SchemaCompiler
from .schema.keywords import kinds_of

END = "</parameter>"


def xml_parameters(compiler: SchemaCompiler, given: Any, place: str) -> Node:
    """The elements of a tool's parameters, in the schema's order. Raises InvalidRequest for a schema of something else."""
    if not isinstance(given, Mapping):
        raise fault(place, "expected the schema of an object")
    compiler.root(given, place)  # checks all of it
    flat = compiler.flat(given, place)
    if flat.get("type", "object") != "object" or any(name in flat for name in ("anyOf", "oneOf", "enum", "const")):
        raise fault(place, "expected the schema of an object")
    required = flat.get("required", ())
    parts = []
    for name, part in flat.get("properties", {}).items():
        value = _value(compiler, part, f"{place}/properties/{name}")
        element = seq(Lit(f"<parameter={name}>\n"), value, Lit(f"\n{END}\n"))
        parts.append(element if name in required else Rep(element, 0, 1))
    return seq(*parts) if parts else EMPTY


def _value(compiler: SchemaCompiler, schema: Any, place: str) -> Node:
    """A value: text of a string as it is, anything else as JSON. Where both may be, texts are those that are listed, or any."""
    if not isinstance(schema, Mapping):
        return compiler.value(schema, place)
    flat = compiler.flat(schema, place)
    if "anyOf" in flat or "oneOf" in flat:
        name = "anyOf" if "anyOf" in flat else "oneOf"
        return alt(*(_value(compiler, part, f"{place}/{name}/{i}") for i, part in enumerate(flat[name])))
    if "enum" in flat or "const" in flat:
        values = flat.get("enum", [flat.get("const")])
        return alt(*(Lit(v) if isinstance(v, str) else json_text.literal(v) for v in values))
    kinds = kinds_of(flat)
    parts: list[Node] = []
    if "string" in kinds:
        parts.append(_string(flat, place))
    others = [kind for kind in kinds if kind != "string"]
    if others:
        parts.append(compiler.value({**flat, "type": others}, place))
    return alt(*parts)


def _string(schema: Mapping[str, Any], place: str) -> Node:
    if "pattern" in schema:
        return search_match(schema["pattern"], f"{place}/pattern", Rep(ANY))
    for name in ("format", "minLength", "maxLength"):
        if name in schema:
            raise fault(f"{place}/{name}", "is not kept in a call's text; use pattern, or leave it out")
    return without((END,), place)
