"""Variants of a deployment: files with other values at some keys, which can be served afterwards."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import load_deployment

from .space import Setting


@dataclass(frozen=True)
class Variant:
    """One variant: its deployment file, its result file, and whether an engine must be built first."""

    setting: Setting
    file: Path
    result: Path
    builds: bool


def write_variants(deployment: Path, settings: Sequence[Setting], folder: Path, load: Sequence[str]) -> list[Variant]:
    """Writes and checks all variants before any is measured. `load`: options of the load, which are part of file names.

    Raises ConfigurationError naming the setting that is no valid deployment.
    """
    base = json.loads(load_deployment(deployment).model_dump_json(exclude_unset=True))
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(base, setting, folder, load) for setting in settings]


def _write(base: Mapping[str, Any], setting: Setting, folder: Path, load: Sequence[str]) -> Variant:
    data = json.loads(json.dumps(base))
    for key, value in setting.values.items():
        _set(data, key, value)
    builds = any(key.startswith("build.") for key in setting.values)
    name = _file_name(setting, data, load)
    if builds:
        _set(data, "engine.engine_dir", str((folder / "engines" / name).resolve()))
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    try:
        load_deployment(file)
    except ConfigurationError as error:
        file.unlink()
        raise ConfigurationError(f"--space, {setting.name}: {str(error).partition(': ')[2]}") from None
    return Variant(setting, file, folder / f"{name}.json", builds)


def _set(data: dict[str, Any], path: str, value: Any) -> None:
    *sections, key = path.split(".")
    for section in sections:
        data = data.setdefault(section, {})
        if not isinstance(data, dict):
            raise ConfigurationError(f"--space: {path}: {section} has no keys")
    data[key] = value


def _file_name(setting: Setting, data: Mapping[str, Any], load: Sequence[str]) -> str:
    """A readable name, with a hash of everything that affects the result."""
    readable = re.sub(r"[^\w.=-]+", "-", setting.name).strip("-")[:80] or "as-it-is"
    decisive = json.dumps([data, list(load)], sort_keys=True)
    return f"{readable}-{hashlib.sha256(decisive.encode()).hexdigest()[:8]}"
