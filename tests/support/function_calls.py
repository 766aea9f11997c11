"""Function calls that are right: tools and ground truth of the Berkeley function-calling leaderboard (see `fetch_qwen`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.fetch_qwen import CALL_SETS

_TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
"""The set's types that JSON schema calls otherwise."""
_OF_VALUE = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object", type(None): "null"}


@dataclass(frozen=True)
class CallCase:
    """The tools of one question and the calls that answer it: names, and arguments as JSON values."""

    name: str
    tools: list[dict[str, Any]]
    calls: list[tuple[str, dict[str, Any]]]


def call_cases(folder: Path) -> Iterator[CallCase]:
    """All of them; `folder` is the `bfcl` that `fetch_qwen` made."""
    for name in CALL_SETS:
        answers = {row["id"]: row["ground_truth"] for row in _rows(folder / "possible_answer" / f"BFCL_v4_{name}.json")}
        for row in _rows(folder / "data" / f"BFCL_v4_{name}.json"):
            functions = [_function(function) for function in row["function"]]
            calls = [(called, _first(values)) for truth in answers[row["id"]] for called, values in truth.items()]
            _describe(functions, calls)
            yield CallCase(row["id"], [{"type": "function", "function": f} for f in functions], calls)


def _describe(functions: list[dict[str, Any]], calls: list[tuple[str, dict[str, Any]]]) -> None:
    """Adds the type of a value to a parameter that is said to be text: «any» may be, and eight tools describe it wrongly."""
    described = {function["name"]: function["parameters"]["properties"] for function in functions}
    for name, arguments in calls:
        for key, value in arguments.items():
            schema = described[name].get(key, {})
            if schema.get("type") == "string" and not isinstance(value, str):
                schema["type"] = [_OF_VALUE[type(value)], "string"]
                schema.pop("enum", None)


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    return (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def _function(function: dict[str, Any]) -> dict[str, Any]:
    return {**function, "parameters": _schema(function["parameters"])}


def _schema(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_schema(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: _schema(value) for key, value in schema.items()}
    if isinstance(named := schema.get("type"), str):
        changed["type"] = _TYPES.get(named, named)
    return changed


def _first(values: dict[str, list[Any]]) -> dict[str, Any]:
    """Of the values that count as right the first; «» alone means that the argument may be left out."""
    return {key: _plain(options[0]) for key, options in values.items() if options and options[0] != ""}


def _plain(value: Any) -> Any:
    """Within objects each value is again a list of those that count as right."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {
            key: _plain(options[0]) if isinstance(options, list) and options else options
            for key, options in value.items()
        }
    return value
