"""Arrays of a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..faults import fault
from ..grammar import EMPTY, NEVER, Lit, Node, Ref, Rep, alt, seq
from . import json_text
from .json_text import COMMA, array_of, bracketed
from .keywords import TYPES, PartCompiler, is_kind, kinds_of

_MOST_UNIQUE = 64


def array_schema(compiler: PartCompiler, schema: Mapping[str, Any], place: str) -> Node:
    """The arrays that a schema allows. Raises InvalidRequest for what is not kept."""
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    if most is not None and most < least:
        raise fault(f"{place}/maxItems", f"{most} is less than minItems ({least}); no array fits")
    items = schema.get("items", True)
    if isinstance(items, list) or "prefixItems" in schema:
        return _tuple(compiler, schema, place, least, most)
    if most == 0:
        return Lit("[]")
    if schema.get("uniqueItems") and most != 1:
        return _unique(compiler, items, place, least, most)
    if items is False:
        return Lit("[]") if least == 0 else NEVER
    item = Ref("any1") if items is True else compiler.rule(compiler.value(items, f"{place}/items"), "item")
    return array_of(item, least, most)


def _tuple(compiler: PartCompiler, schema: Mapping[str, Any], place: str, least: int, most: int | None) -> Node:
    """Items with a schema each, then others. Draft 4 has them in `items`, with `additionalItems` for the others."""
    by_items = isinstance(schema.get("items"), list)
    name = "items" if by_items else "prefixItems"
    others = schema.get("additionalItems" if by_items else "items", True)
    first = [compiler.value(part, f"{place}/{name}/{i}") for i, part in enumerate(schema[name])]
    if schema.get("uniqueItems"):
        raise fault(f"{place}/uniqueItems", f"is not kept beside {name}; leave it out")
    if most is not None and most <= len(first):
        first, others = first[:most], False
    other = NEVER if others is False else Ref("any1") if others is True else compiler.value(others, f"{place}/items")
    if others is True and most is None and least <= len(first):
        other = NEVER  # nothing is asked of them, so none are written
    room = None if most is None else most - len(first)
    rest: Node = EMPTY if other == NEVER else Rep(seq(COMMA, other), max(0, least - len(first)), room)
    if other == NEVER and least > len(first):
        return NEVER
    for index in range(len(first) - 1, -1, -1):
        rest = seq(COMMA if index else EMPTY, first[index], rest)
        if index >= least and index > 0:
            rest = compiler.rule(alt(rest, EMPTY), "rest")
    return bracketed("[", "]", rest, may_be_empty=least == 0) if first else Lit("[]")


def _unique(compiler: PartCompiler, items: Any, place: str, least: int, most: int | None) -> Node:
    """Different items, where they are listed: each at most once, in the order of the list."""
    values = _finite(compiler, items, place)
    if values is None or len(values) > _MOST_UNIQUE:
        raise fault(
            f"{place}/uniqueItems",
            f"is kept only for items with an enum of at most {_MOST_UNIQUE} values; leave it out",
        )
    top = len(values) if most is None else min(most, len(values))
    rules: dict[tuple[int, int], Node] = {}
    for index in range(len(values), -1, -1):
        for count in range(min(index, top) + 1):
            rules[index, count] = _from(compiler, values, index, count, (max(1, least), top), rules)
    return bracketed("[", "]", rules[0, 0], may_be_empty=least == 0)


def _from(
    compiler: PartCompiler,
    values: Sequence[Any],
    index: int,
    count: int,
    bounds: tuple[int, int],
    later: Mapping[tuple[int, int], Node],
) -> Node:
    """What may follow `count` items, of the values from `index` on."""
    least, top = bounds
    if index == len(values):
        return EMPTY if least <= count <= top else NEVER
    skipped = later[index + 1, count]
    if count == top:
        return skipped
    item = seq(COMMA if count else EMPTY, json_text.literal(values[index]), later[index + 1, count + 1])
    return compiler.rule(alt(skipped, item), "unique")


def _finite(compiler: PartCompiler, items: Any, place: str) -> list[Any] | None:
    """The values of an enum, each once; None for other schemas."""
    if not isinstance(items, Mapping):
        return None
    flat = compiler.flat(items, f"{place}/items")
    if flat.get("type") == "boolean" and "enum" not in flat:
        return [False, True]
    compiler.value(flat, f"{place}/items")
    values = flat.get("enum")
    if values is None:
        return None
    found: list[Any] = []
    for value in values:
        if any(is_kind(value, kind) for kind in kinds_of({"type": flat.get("type", TYPES)})) and value not in found:
            found.append(value)
    return found
