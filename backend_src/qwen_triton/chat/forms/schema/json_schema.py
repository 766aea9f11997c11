"""A JSON schema as a grammar whose every text is an instance of it.

The grammar is narrower than the schema where that loses nothing a model should write: properties come in the order of the
schema, an object has no others than those declared unless `additionalProperties` has a schema, blanks are bounded. What
cannot be kept is refused by name and place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from ..faults import fault
from ..grammar import NEVER, Grammar, Lit, Node, Ref, Rep, alt, seq
from . import json_text
from .arrays import array_schema
from .keywords import TYPES, check_keywords, constraints, is_kind, kinds_of
from .merge import merged
from .numbers import BEYOND, MOST_MULTIPLES, NumberBounds, endless_multiples, integer, multiples, number
from .objects import object_schema
from .strings import FORMAT_RULES, string_schema

Schema = Mapping[str, Any] | bool


@dataclass(frozen=True, slots=True)
class SchemaBounds:
    """The most of a schema: how deep it nests, values of one enum or branches of one anyOf, and steps of compiling it.

    Merging the parts of allOf and of branches takes steps of which no state is left, twice as many for each level.
    """

    depth: int = 64
    alternatives: int = 4096
    steps: int = 65_536

    @property
    def texts(self) -> int:
        """The most characters for which rules are made."""
        return self.steps // 64


def parse_json(text: str, place: str) -> Any:
    """A JSON value. Raises InvalidRequest with the position of what is wrong."""
    try:
        return json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise fault(place, f"is not JSON: {error}") from None


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"{digits[:40]} is larger than any number")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class SchemaCompiler:
    """Compiles schemas into the rules of `grammar`; rules of several schemas do not meet (see `scope`)."""

    def __init__(self, grammar: Grammar, bounds: SchemaBounds) -> None:
        self._grammar = grammar
        self._bounds = bounds
        self._roots = 0
        self._root: Schema = True
        self._place = "#"
        self._named: dict[str, str] = {}
        self._depth = 0
        self._steps = 0
        for name, node in (*json_text.RULES.items(), *FORMAT_RULES.items()):
            grammar.rules.setdefault(name, node)

    def root(self, schema: object, place: str = "#") -> Node:
        """The instances of a whole schema, to which its references refer. Raises InvalidRequest, naming the place."""
        if not isinstance(schema, dict | bool):
            raise fault(place, f"expected a schema: an object, true or false, got {type(schema).__name__}")
        self._root, self._named, self._place = schema, {}, place
        self._roots += 1
        try:
            return self.value(schema, place)
        except RecursionError:
            raise fault(place, "is nested too deeply") from None

    def value(self, schema: Schema, place: str) -> Node:
        """The instances of a part of the schema."""
        if isinstance(schema, bool):
            return Ref("any0") if schema else NEVER
        self._spend(len(schema), place)
        self._depth += 1
        try:
            if self._depth > self._bounds.depth:
                raise fault(place, f"is nested more than {self._bounds.depth} deep (limits.form_depth)")
            check_keywords(schema, place)
            return self._value(constraints(schema), place)
        finally:
            self._depth -= 1

    def _value(self, schema: Mapping[str, Any], place: str) -> Node:
        if not schema:
            return Ref("any0")
        if "$ref" in schema:
            if len(schema) == 1:
                return self._reference(schema["$ref"], place)
            return self.value(self.flat(schema, place), place)
        if "allOf" in schema:
            if len(schema) == 1 and len(schema["allOf"]) == 1:
                return self.value(schema["allOf"][0], f"{place}/allOf/0")
            return self.value(self.flat(schema, place), place)
        for name in ("anyOf", "oneOf"):
            if name in schema:
                return self._branches(schema, name, place)
        if "enum" in schema or "const" in schema:
            return self._listed(schema, place)
        return alt(*(self._typed(kind, schema, place) for kind in kinds_of(schema)))

    def flat(self, schema: Mapping[str, Any], place: str, steps: int = 0) -> Mapping[str, Any]:
        """A schema with its references and allOf merged into it. Raises InvalidRequest for what cannot be merged."""
        if steps > self._bounds.depth:
            raise fault(place, "refers to itself without end")
        self._spend(len(schema), place)
        found = constraints(schema)
        parts: list[tuple[Schema, str]] = []
        if "$ref" in found:
            reference = found.pop("$ref")
            parts.append((self.resolve(reference, place), place))
        parts += [(part, f"{place}/allOf/{i}") for i, part in enumerate(found.pop("allOf", ()))]
        for part, where in parts:
            if part is False:
                return {"enum": []}
            if isinstance(part, Mapping):
                check_keywords(part, where)
                found = self._merged(found, self.flat(part, where, steps + 1), where)
        return found

    def _merged(self, one: Mapping[str, Any], other: Mapping[str, Any], place: str) -> dict[str, Any]:
        self._spend(len(one.get("properties", ())) + len(other.get("properties", ())), place)
        return merged(one, other, place)

    def _spend(self, steps: int, place: str) -> None:
        self._steps += 1 + steps
        if self._steps > self._bounds.steps:
            raise fault(
                place[:200],
                f"compiling the schema takes more than {self._bounds.steps} steps (limits.form_states); merge allOf and "
                "keywords beside anyOf by hand, or put what is repeated into $defs",
            )

    def resolve(self, reference: str, place: str) -> Schema:
        """The schema that a reference names. Raises InvalidRequest for one outside of this schema, or to nothing."""
        if not reference.startswith("#"):
            raise fault(f"{place}/$ref", f"{reference[:100]!r} is outside of this schema; put its target into $defs")
        found: Any = self._root
        for part in unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and name in found:
                found = found[name]
            elif isinstance(found, list) and name.isdigit() and int(name) < len(found):
                found = found[int(name)]
            else:
                raise fault(f"{place}/$ref", f"{reference[:100]!r} names nothing")
        if reference not in ("#", "#/") and not reference.startswith("#/"):
            raise fault(
                f"{place}/$ref", f"{reference[:100]!r}: anchors are not supported; use a path such as #/$defs/name"
            )
        if not isinstance(found, dict | bool):
            raise fault(f"{place}/$ref", f"{reference[:100]!r} is no schema")
        return found

    def rule(self, node: Node, kind: str) -> Ref:
        """A new rule for `node`."""
        name = f"{kind}_{len(self._grammar.rules)}"
        self._grammar.rules[name] = node
        return Ref(name)

    def text(self, most: int) -> Node:
        """Up to `most` characters of a JSON string and its closing quote.

        One rule for each number of characters, which all strings of a grammar share. An engine compiles that in a quarter of
        the time of a repetition, in each of whose states all later characters may be left out.
        """
        if most > self._bounds.texts:
            return seq(Rep(json_text.CHARACTER, 0, most), Lit('"'))  # refused for its states
        rules = self._grammar.rules
        rules.setdefault("text0", Lit('"'))
        for count in range(1, most + 1):
            if f"text{count}" not in rules:
                rules[f"text{count}"] = alt(Lit('"'), seq(json_text.CHARACTER, Ref(f"text{count - 1}")))
        return Ref(f"text{most}")

    def _reference(self, reference: str, place: str) -> Node:
        """A rule for each target: so a schema may refer to itself."""
        if reference not in self._named:
            target = self.resolve(reference, place)
            name = f"ref_{self._roots}_{len(self._named)}"
            self._named[reference] = name
            depth, self._depth = self._depth, 0
            where = self._place + reference[1:].rstrip("/")
            self._grammar.rules[name] = self.value(target, where)
            self._depth = depth
        return Ref(self._named[reference])

    def _branches(self, schema: Mapping[str, Any], name: str, place: str) -> Node:
        branches: Sequence[Schema] = schema[name]
        self._check_alternatives(len(branches), f"{place}/{name}")
        base = {key: value for key, value in schema.items() if key != name}
        if name == "oneOf":
            self._check_apart(branches, f"{place}/oneOf")
        if not base:
            return alt(*(self.value(part, f"{place}/{name}/{i}") for i, part in enumerate(branches)))
        found = []
        for i, part in enumerate(branches):
            if part is False:
                continue
            where = f"{place}/{name}/{i}"
            if isinstance(part, Mapping):
                check_keywords(part, where)
            whole = base if part is True else self._merged(base, self.flat(part, where), where)
            found.append(self.value(whole, where))
        return alt(*found)

    def _check_apart(self, branches: Sequence[Schema], place: str) -> None:
        """Refuses branches of oneOf that one value may match two of: a grammar could not tell."""
        self._spend(len(branches) ** 2 // 2, place)
        flat = [self.flat(b, f"{place}/{i}") if isinstance(b, Mapping) else {} for i, b in enumerate(branches)]
        for i, one in enumerate(flat):
            for other in flat[:i]:
                if not _apart(one, other):
                    raise fault(
                        f"{place}/{i}",
                        "may match the same values as another branch; use anyOf, or give each branch a type or a required "
                        "const property of its own",
                    )

    def _listed(self, schema: Mapping[str, Any], place: str) -> Node:
        """enum and const, with the type beside them."""
        for name in schema:
            if name not in ("enum", "const", "type"):
                raise fault(f"{place}/{name}", "is not kept beside enum or const; leave out the values that it forbids")
        values: Sequence[Any] = schema["enum"] if "enum" in schema else [schema["const"]]
        self._check_alternatives(len(values), f"{place}/enum")
        if "enum" in schema and "const" in schema:
            values = [v for v in values if v == schema["const"]]
        kinds = kinds_of(schema) if "type" in schema else TYPES
        found = [json_text.literal(v) for v in values if any(is_kind(v, kind) for kind in kinds)]
        if not found:
            raise fault(f"{place}/enum", "has no value that fits")
        return alt(*found)

    def _check_alternatives(self, count: int, place: str) -> None:
        if count > self._bounds.alternatives:
            raise fault(
                place,
                f"{count} are more than the {self._bounds.alternatives} that are taken here (limits.form_alternatives)",
            )

    def _typed(self, kind: str, schema: Mapping[str, Any], place: str) -> Node:
        if kind == "object":
            return object_schema(self, schema, place)
        if kind == "array":
            return array_schema(self, schema, place)
        if kind == "string":
            return string_schema(self, schema, place)
        if kind == "boolean":
            return alt(Lit("true"), Lit("false"))
        if kind == "null":
            return Lit("null")
        return _numeric(kind, schema, place)


def _numeric(kind: str, schema: Mapping[str, Any], place: str) -> Node:
    bounds = _bounds(schema, place, integers=kind == "integer")
    step = schema.get("multipleOf")
    if step is not None:
        values = multiples(step, bounds, integers=kind == "integer")
        if values is not None:
            return alt(*(json_text.literal(v) for v in values))
        endless = endless_multiples(step)
        if endless is None or bounds.low is not None or bounds.high is not None:
            raise fault(
                f"{place}/multipleOf",
                f"{step} is kept only with minimum and maximum that hold at most {MOST_MULTIPLES} values; give both",
            )
        return endless
    return integer(bounds) if kind == "integer" else number(bounds)


def _bounds(schema: Mapping[str, Any], place: str, *, integers: bool) -> NumberBounds:
    """Minimum and maximum, each with its exclusive form, which is a number, or a flag as in draft 4.

    A bound of 16 digits or more, as zod writes for any integer, is that of the digits that a number has here.
    """
    low, above = _bound(schema.get("minimum"), schema.get("exclusiveMinimum"), lowest=True)
    high, below = _bound(schema.get("maximum"), schema.get("exclusiveMaximum"), lowest=False)
    if low is not None and low >= BEYOND:
        raise fault(
            f"{place}/minimum", f"numbers have up to {len(str(BEYOND)) - 1} digits before the point; no number fits"
        )
    if high is not None and high <= -BEYOND:
        raise fault(
            f"{place}/maximum", f"numbers have up to {len(str(BEYOND)) - 1} digits before the point; no number fits"
        )
    if low is not None and low <= -BEYOND:
        low, above = (None, False) if integers else (1 - BEYOND, False)
    if high is not None and high >= BEYOND:
        high, below = (None, False) if integers else (BEYOND - 1, False)
    return NumberBounds(low, high, above=above, below=below)


def _bound(plain: float | None, exclusive: float | bool | None, *, lowest: bool) -> tuple[float | None, bool]:
    if isinstance(exclusive, bool) or exclusive is None:
        return plain, bool(exclusive)
    if plain is None or (exclusive >= plain if lowest else exclusive <= plain):
        return exclusive, True
    return plain, False


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether it is certain that no value matches both of two flat schemas."""
    first, second = _values(one), _values(other)
    if first is not None and second is not None:
        return not any(a == b and isinstance(a, bool) == isinstance(b, bool) for a in first for b in second)
    kinds = set(kinds_of(one)) & set(kinds_of(other))
    mixed = {"integer", "number"} & set(kinds_of(one)) and {"integer", "number"} & set(kinds_of(other))
    if "type" in one and "type" in other and not kinds and not mixed:
        return True
    for given, listed in ((first, other), (second, one)):
        if given is not None and "type" in listed:
            return not any(is_kind(v, kind) for v in given for kind in kinds_of(listed))
    if not one.get("type") == other.get("type") == "object":
        return False
    names = set(one.get("required", ())) & set(other.get("required", ()))
    pairs = ((one.get("properties", {}).get(n), other.get("properties", {}).get(n)) for n in names)
    return any(
        isinstance(a, Mapping) and isinstance(b, Mapping) and None not in (_values(a), _values(b)) and _apart(a, b)
        for a, b in pairs
    )


def _values(schema: Mapping[str, Any]) -> Sequence[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")
