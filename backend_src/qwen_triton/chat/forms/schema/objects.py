"""Objects of a JSON schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..faults import fault
from ..grammar import EMPTY, NEVER, Node, Ref, Rep, Seq, alt, seq
from ..regex import ANY, search_match
from . import json_text
from .json_text import COLON, COMMA, bracketed, mapping, string
from .keywords import PartCompiler
from .strings import different_from

_LONG = 64
"""Parts of a sequence that is made longer one by one, and so copied each time."""


def object_schema(compiler: PartCompiler, schema: Mapping[str, Any], place: str) -> Node:
    """The objects that a schema allows. Raises InvalidRequest for what is not kept."""
    names = {**schema.get("properties", {})}
    more = schema.get("additionalProperties", schema.get("unevaluatedProperties"))
    if "patternProperties" in schema or "propertyNames" in schema:
        return _by_key(compiler, schema, place)
    for name in schema.get("required", ()):
        if name not in names:
            if more is False:
                raise fault(f"{place}/required", f"{name[:100]!r} is required and not allowed")
            names[name] = True if more is None else more
    extra = compiler.value(more, f"{place}/additionalProperties") if isinstance(more, Mapping) else NEVER
    if not names:
        if more is False or (more is None and "properties" in schema):
            return _counted_none(schema, place)
        least, most = _counts(schema, place, least_kept=1)
        if extra == NEVER and not isinstance(more, Mapping):
            extra = Ref("any1")
        return mapping(Ref("string"), compiler.rule(extra, "value"), least, most)
    pairs = [
        (seq(json_text.literal(name), COLON, compiler.value(part, f"{place}/properties/{name}")), name)
        for name, part in names.items()
    ]
    required = frozenset(schema.get("required", ()))
    least, most = _counts(schema, place, least_kept=max(1, len(required)))
    if most is not None and (most < len(pairs) or extra != NEVER):
        raise fault(
            f"{place}/maxProperties", "is kept only where no fewer than all properties may be there; leave it out"
        )
    tail = seq(COMMA, different_from(tuple(names)), COLON, compiler.rule(extra, "value")) if extra != NEVER else NEVER
    inner = _members(compiler, pairs, required, tail)
    return bracketed("{", "}", inner, may_be_empty=not required and least == 0)


def _members(compiler: PartCompiler, pairs: list[tuple[Node, str]], required: frozenset[str], tail: Node) -> Node:
    """The pairs in order, optional ones perhaps left out, at least one. Two rules a pair: with and without one before it.

    `tail`: a further pair with its comma, any number of times.
    """
    after: Node = EMPTY if tail == NEVER else Rep(tail)
    first: Node = NEVER if tail == NEVER else seq(_without_comma(tail), after)
    for pair, name in reversed(pairs):
        if len(pairs) > 1 and not isinstance(pair, Ref):
            pair = compiler.rule(pair, "pair")
        follows: Node = seq(COMMA, pair, after)
        begins: Node = seq(pair, after)
        if name not in required:
            follows, begins = alt(follows, after), alt(begins, first)
            after, first = compiler.rule(follows, "rest"), compiler.rule(begins, "first")
        else:
            after, first = follows, begins
            if isinstance(after, Seq) and len(after.parts) > _LONG:
                after, first = compiler.rule(after, "rest"), compiler.rule(first, "first")
    return first


def _without_comma(tail: Node) -> Node:
    parts = getattr(tail, "parts", ())
    return seq(*parts[len(getattr(COMMA, "parts", ())) :])


def _counts(schema: Mapping[str, Any], place: str, least_kept: int) -> tuple[int, int | None]:
    least, most = schema.get("minProperties", 0), schema.get("maxProperties")
    if most is not None and most < least:
        raise fault(f"{place}/maxProperties", f"{most} is less than minProperties ({least}); no object fits")
    if least > least_kept:
        raise fault(f"{place}/minProperties", f"{least} is not kept; name the properties in required")
    return least, most


def _counted_none(schema: Mapping[str, Any], place: str) -> Node:
    if schema.get("minProperties", 0):
        raise fault(f"{place}/minProperties", "no property is allowed; no object fits")
    return json_text.literal({})


def _by_key(compiler: PartCompiler, schema: Mapping[str, Any], place: str) -> Node:
    """Objects whose keys a pattern or a schema bounds; no named properties beside it."""
    bound = "patternProperties" if "patternProperties" in schema else "propertyNames"
    if schema.get("properties") or schema.get("required"):
        raise fault(f"{place}/{bound}", "is not kept beside properties and required; leave one of them out")
    least, most = _counts(schema, place, least_kept=1)
    if bound == "propertyNames":
        keys, values = schema["propertyNames"], schema.get("additionalProperties", True)
        key = compiler.value(
            {"type": "string", **keys} if isinstance(keys, Mapping) else keys, f"{place}/propertyNames"
        )
        value = Ref("any1") if values is True else compiler.value(values, f"{place}/additionalProperties")
    else:
        patterns = schema["patternProperties"]
        if len(patterns) != 1 or "propertyNames" in schema:
            raise fault(f"{place}/patternProperties", "one pattern is kept, without propertyNames")
        pattern, part = next(iter(patterns.items()))
        key = string(search_match(pattern, f"{place}/patternProperties", Rep(ANY)))
        value = compiler.value(part, f"{place}/patternProperties/{pattern}")
    return mapping(compiler.rule(key, "key"), compiler.rule(value, "value"), least, most)
