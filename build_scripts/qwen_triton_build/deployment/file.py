"""Reads deployment.yaml as plain data: refuses duplicate keys, and overrides ports from the environment."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from qwen_triton.errors import ConfigurationError

PORTS = {
    "HTTP_PORT": ("server", "http_port"),
    "GRPC_PORT": ("server", "grpc_port"),
    "METRICS_PORT": ("server", "metrics_port"),
    "OPENAI_PORT": ("openai", "port"),
}


_UNUSABLE = re.compile("[\\x00\\ud800-\\udfff]")


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {twice} is given twice; keep one of them")
        return super().construct_mapping(node, deep)


def read_deployment(file: Path, environment: Mapping[str, str]) -> dict[str, Any]:
    """The file's keys and values. Raises ConfigurationError for a file that is no YAML mapping, or a wrong port."""
    try:
        data = yaml.load(file.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: no such file; deployments/ has examples") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{file}: cannot be read as YAML: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        found = "nothing" if data is None else type(data).__name__
        raise ConfigurationError(f"{file}: expected keys such as model and engine, got {found}")
    if path := _unusable_text(data):
        raise ConfigurationError(f"{file}: {path}: has a NUL or half of a surrogate pair; take it out")
    _override_ports(data, environment)
    return data


def _unusable_text(data: Any) -> str:
    """The path of the first text that no path, log or model configuration can hold; '' where there is none."""
    seen: set[int] = set()
    waiting: list[tuple[str, Any]] = [("", data)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, str) and _UNUSABLE.search(value):
            return path
        if isinstance(value, (dict, list)) and id(value) not in seen:  # an alias of YAML may hold itself
            seen.add(id(value))
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                below = f"{path}.{key}" if path else str(key)
                if isinstance(key, str) and _UNUSABLE.search(key):
                    return repr(below)
                waiting.append((below, item))
    return ""


def _override_ports(data: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Overrides ports in `data`. A section that is no mapping stays as it is; validation reports it."""
    for variable, (section, key) in PORTS.items():
        text, old = environment.get(variable), data.get(section)
        if not text or not isinstance(old, dict | None):
            continue
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
            raise ConfigurationError(f"{variable}: expected a port from 1 to 65535 in the environment, got {text!r}")
        data[section] = {**(old or {}), key: int(text)}
