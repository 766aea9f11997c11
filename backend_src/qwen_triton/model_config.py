"""Parameters in the config.pbtxt of a model: strings, of which some may be unfilled.

An unfilled placeholder («${name}») or an empty string means «not set», as in stock's models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import ConfigurationError

_TRUE = {"true", "1", "t", "y", "yes"}
_FALSE = {"false", "0", "f", "n", "no"}


@dataclass(frozen=True)
class Parameters:
    """A model's parameters by type. Raises ConfigurationError that names the model, the key and what is expected."""

    model: str
    values: Mapping[str, str]

    def text(self, key: str) -> str | None:
        """The value; None if it is not set."""
        value = self.values.get(key, "").strip()
        return None if not value or re.fullmatch(r"\$\{\w*\}", value) else value

    def flag(self, key: str, default: bool) -> bool:
        """True or false, in any spelling that stock's models take."""
        value = self.text(key)
        if value is None:
            return default
        if value.lower() not in _TRUE | _FALSE:
            raise self.error(key, f"expected true or false, got {value!r}")
        return value.lower() in _TRUE

    def number(self, key: str) -> int | None:
        """A whole number from 0; None if it is not set."""
        value = self.text(key)
        if value is None:
            return None
        if not re.fullmatch(r"\d+", value):
            raise self.error(key, f"expected a whole number, got {value!r}")
        return int(value)

    def choice(self, key: str, choices: tuple[str, ...], default: str) -> str:
        """One of `choices`."""
        value = self.text(key) or default
        if value not in choices:
            raise self.error(key, f"expected {' or '.join(choices)}, got {value!r}")
        return value

    def json_object(self, key: str) -> dict[str, Any] | None:
        """A JSON object; None if it is not set."""
        value = self.text(key)
        if value is None:
            return None
        try:
            return dict(json.loads(value))
        except (ValueError, TypeError):
            raise self.error(key, "expected a JSON object") from None

    def error(self, key: str, reason: str) -> ConfigurationError:
        """The error that names the model's file, the parameter and `reason`."""
        return ConfigurationError(f"{self.model}/config.pbtxt: parameter {key}: {reason}")


def sibling_config(repository: Path, model: str) -> str:
    """The config.pbtxt of another model of the repository as text; empty where there is no such model."""
    file = repository / model / "config.pbtxt"
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def sibling_parameter(repository: Path, model: str, key: str) -> str | None:
    """A parameter of another model of the repository, None if it is not set: stock's commands fill some in one model only."""
    pattern = rf'key:\s*"{key}"\s*,?\s*value:?\s*\{{\s*string_value:\s*"([^"]*)"'
    found = re.search(pattern, sibling_config(repository, model))
    return Parameters(model, {key: found[1]}).text(key) if found else None


def inherit_parameters(parameters: Parameters, repository: Path, owners: Mapping[str, str]) -> Parameters:
    """`parameters` with each one that is not set as another model of the repository has it; `owners`: that model, by key."""
    found = {
        key: sibling_parameter(repository, model, key) for key, model in owners.items() if parameters.text(key) is None
    }
    given = {key: value for key, value in found.items() if value is not None}
    return replace(parameters, values={**parameters.values, **given})


def sibling_backend(repository: Path, model: str) -> str | None:
    """The backend of another model of the repository; None where there is no such model."""
    found = re.search(r'^\s*backend:\s*"([^"]*)"', sibling_config(repository, model), re.MULTILINE)
    return found[1] if found else None
