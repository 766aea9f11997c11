"""Space of settings: every combination of listed values, and of named cases that set several keys together.

    cases:
      two-gpu-opti: {engine.slots: 64, engine.step_ms: 9.25}
      two-gpu: {engine.slots: 512, engine.step_ms: 24}
    space:
      repository.max_queue_delay_microseconds: [0, 1000]

Keys are paths in the deployment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from qwen_triton.errors import ConfigurationError


@dataclass(frozen=True)
class Setting:
    """One point of the space: a name, and values by key. Keys are paths in the deployment."""

    name: str
    values: Mapping[str, Any]


def read_space(parts: Sequence[str]) -> list[Setting]:
    """All settings of a space. `parts`: files as above, or KEY=VALUE,VALUE… Raises ConfigurationError."""
    cases: dict[str, dict[str, Any]] = {}
    space: dict[str, list[Any]] = {}
    for part in parts:
        if "=" in part:
            key, _, values = part.partition("=")
            space[key] = _values(values, part)
        else:
            _read_file(Path(part), cases, space)
    named = list(cases.items()) or [("", {})]
    keys = list(space)
    settings = []
    for (case, values), point in product(named, product(*space.values())):
        chosen = dict(zip(keys, point, strict=True))
        twice = next((key for key in chosen if key in values), None)
        if twice:
            raise ConfigurationError(f"--space: {twice} is both in case {case} and in the space; leave one out")
        words = [*([case] if case else []), *(f"{key.rpartition('.')[2]}={value}" for key, value in chosen.items())]
        settings.append(Setting(" ".join(words), values | chosen))
    return settings


def _values(text: str, part: str) -> list[Any]:
    """Values with commas, as YAML writes a list: a value may itself be {KEY: VALUE, …}."""
    try:
        return list(yaml.safe_load(f"[{text}]")) or [None]
    except (yaml.YAMLError, TypeError):
        raise ConfigurationError(f"--space {part}: {text!r} is no list of values") from None


def _read_file(file: Path, cases: dict[str, dict[str, Any]], space: dict[str, list[Any]]) -> None:
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(f"--space {file}: neither KEY=VALUE,VALUE nor a YAML file: {reason}") from None
    given = data if isinstance(data, dict) else {}
    unknown = [key for key in given if key not in ("cases", "space")]
    mappings = [given.get(key) or {} for key in ("cases", "space")]
    if not given or unknown or not all(isinstance(m, dict) for m in mappings):
        raise ConfigurationError(f"--space {file}: expected the keys cases and space, each with entries")
    for name, values in mappings[0].items():
        if not isinstance(values, dict):
            raise ConfigurationError(f"--space {file}: case {name}: expected keys with values")
        cases[str(name)] = values
    for key, values in mappings[1].items():
        if not isinstance(values, list) or not values:
            raise ConfigurationError(f"--space {file}: {key}: expected a list of values")
        space[str(key)] = values
