"""Dataclasses with the fields that a release has, from lines such as «n: int = 1». Standard library only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

_NONE: dict[str, Any] = {"True": True, "False": False, "set()": None, "[]": None}


def record(name: str, lines: Iterable[str], *, keywords: bool = False) -> type:
    """A dataclass with the fields in order; one without a default is required. `keywords`: it takes nothing else."""
    fields: list[Any] = []
    for line in lines:
        field, _, default = line.partition(" = ")
        field = field.partition(":")[0].strip()
        if not default:
            fields.append((field, Any))
        else:
            fields.append((field, Any, dataclasses.field(default=_default(default))))
    return dataclasses.make_dataclass(name, fields, kw_only=keywords)


def _default(text: str) -> Any:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return _NONE.get(text)
