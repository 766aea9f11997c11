"""Merges schemas that must hold together: allOf, and keywords beside anyOf or a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..faults import fault

_LARGER = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_SMALLER = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})


def merged(one: Mapping[str, Any], other: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A schema of the values that both allow. Raises InvalidRequest for two values of a keyword that are not kept together."""
    found = dict(one)
    for name, value in other.items():
        if name not in found or found[name] == value:
            found[name] = value
        elif name == "required":
            found[name] = list(dict.fromkeys([*found[name], *value]))
        elif name == "properties":
            found[name] = _properties(found[name], value)
        elif name == "type":
            found[name] = _types(found[name], value)
        elif name in _LARGER | _SMALLER and not isinstance(value, bool) and not isinstance(found[name], bool):
            found[name] = max(found[name], value) if name in _LARGER else min(found[name], value)
        elif name == "enum":
            found[name] = [v for v in found[name] if v in value]
        elif name == "uniqueItems":
            found[name] = True
        else:
            raise fault(f"{place}/{name}", "is not kept together with another value of it; merge the schemas by hand")
    _check_closed(one, other, place)
    return found


def _properties(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {n: {"allOf": [one[n], other[n]]} for n in one if n in other and one[n] != other[n]}
    return {**one, **other, **both}


def _types(one: Any, other: Any) -> list[str]:
    first, second = ([one] if isinstance(one, str) else one), ([other] if isinstance(other, str) else other)
    shared = [kind for kind in first if kind in second]
    if "integer" not in shared and {"integer", "number"} <= {*first, *second}:
        shared.append("integer")
    return shared


def _check_closed(one: Mapping[str, Any], other: Mapping[str, Any], place: str) -> None:
    """Refuses a part that allows no other properties than its own, beside a part that has others."""
    for closed, open_one in ((one, other), (other, one)):
        if closed.get("additionalProperties", True) is not True:
            extra = [n for n in open_one.get("properties", {}) if n not in closed.get("properties", {})]
            if extra:
                raise fault(
                    f"{place}/additionalProperties",
                    f"is not kept together with the property {extra[0][:100]!r} of another part; merge the schemas by hand",
                )
