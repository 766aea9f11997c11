"""Explains pydantic's faults to an operator: one line each, with the key's path, the reason and the remedy."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

_TAG = "kind"
_LONGEST = 200
_REWORDINGS = (
    ("Value error, ", ""),
    ("Input should be a valid dictionary or instance of ", "expected keys and values of "),
    ("Input should be a valid dictionary or object to extract fields from", "expected keys and values"),
    ("Input should be greater than or equal to ", "expected at least "),
    ("Input should be less than or equal to ", "expected at most "),
    ("Input should be greater than ", "expected more than "),
    ("Input should be ", "expected "),
    ("Input is not a valid path for <class 'pathlib.Path'>", "expected a path"),
    ("String should have at least 1 character", "expected some text"),
    ("Keys should be strings", "a key must be a word"),
)


def explain(error: ValidationError, model: type[BaseModel], data: Mapping[str, Any]) -> list[str]:
    """One line for each fault of `data`, which was validated as `model`."""
    return [_line(fault, model, data) for fault in error.errors()]


def _line(fault: Any, model: type[BaseModel], data: Mapping[str, Any]) -> str:
    keys = _written_path(fault["loc"], data)
    path, kind = ".".join(map(str, keys)), fault["type"]
    if kind == "extra_forbidden":
        known = sorted(_known_keys(model, keys[:-1], data))
        close = get_close_matches(str(keys[-1]), known, 1)
        return f"{path}: unknown key; {f'did you mean {close[0]}?' if close else 'known keys: ' + ', '.join(known)}"
    if kind == "missing":
        return f"{path}: is missing; give it a value"
    if kind in ("union_tag_not_found", "union_tag_invalid"):
        found = "is missing" if kind == "union_tag_not_found" else f"got {_shown(fault['input'].get(_TAG))}"
        return f"{path}.{_TAG}: {found}; expected one of {', '.join(_tags(model, keys))}"
    return f"{path}: {_reword(fault['msg'])}, got {_shown(fault['input'])}"


def _shown(value: Any) -> str:
    """A value, short enough for a line."""
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _reword(message: str) -> str:
    for old, new in _REWORDINGS:
        message = message.replace(old, new)
    return message[0].lower() + message[1:]


def _written_path(loc: Sequence[Any], data: Any) -> list[Any]:
    """pydantic's location without the names that it adds: a section's `kind`, and the member of a union it tried."""
    path: list[Any] = []
    for part in loc:
        if isinstance(data, dict) and part not in data and part == data.get(_TAG):
            continue
        if isinstance(part, str) and not isinstance(data, dict):
            continue
        path.append(part)
        data = _value_at(data, part)
    return path


def _value_at(data: Any, part: Any) -> Any:
    """The value of a key or at an index; None where there is none."""
    if isinstance(data, dict):
        return data.get(part)
    return data[part] if isinstance(data, list) and isinstance(part, int) and part < len(data) else None


def _known_keys(model: type[BaseModel], path: Sequence[Any], data: Any) -> list[str]:
    for part in path:
        data = data[part]
        model = next(m for m in _models(model.model_fields[part].annotation) if _is_meant(m, data))
    return list(model.model_fields)


def _tags(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    return [tag for m in _models(model.model_fields[path[0]].annotation) for tag in _kinds(m)]


def _is_meant(model: type[BaseModel], data: Mapping[str, Any]) -> bool:
    return _TAG not in model.model_fields or data.get(_TAG) in _kinds(model)


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    return get_args(model.model_fields[_TAG].annotation)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The section classes in a field's annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, types.UnionType, Annotated):
        return [m for part in get_args(annotation) for m in _models(part)]
    return []
