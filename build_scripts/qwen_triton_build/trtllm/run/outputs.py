"""Output folders of a step: completeness, stamp, and the atomic replacement of an earlier one.

A folder carries a stamp with the fingerprint of its inputs, so that several engines may share a checkpoint.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError

from ..plan.steps import StepName

SUFFIX = {"convert": "safetensors", "build": "engine"}
STAMP = "qwen-triton.json"


def missing_file(step: StepName, folder: Path, ranks: int) -> str | None:
    """The first file that a whole checkpoint or engine of `ranks` ranks would have; None when all are there."""
    names = ["config.json", *(f"rank{rank}.{SUFFIX[step]}" for rank in range(ranks))]
    for name in names:
        file = folder / name
        if not file.is_file() or not file.stat().st_size:
            return name
    try:
        json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError:
        return "config.json that is JSON"
    return None


def write_stamp(folder: Path, stamp: Mapping[str, Any]) -> None:
    """Says in the folder what it was made from: `fingerprint`, command, versions."""
    (folder / STAMP).write_text(json.dumps(stamp, indent=1, ensure_ascii=False), encoding="utf-8")


def read_stamp(folder: Path) -> dict[str, Any] | None:
    """The stamp of a folder; None for one that `qwen-triton build` did not make."""
    try:
        return dict(json.loads((folder / STAMP).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def aside(output: Path) -> Path:
    """A new name beside `output`, for the time while it is written."""
    return output.with_name(f".{output.name}.partial-{secrets.token_hex(4)}")


def remove_leftovers(output: Path) -> None:
    """Removes the temporary folders that a killed build left beside `output`."""
    for pattern in (f".{output.name}.partial-*", f".{output.name}.old-*"):
        for folder in output.parent.glob(pattern):
            shutil.rmtree(folder, ignore_errors=True)


def put_in_place(written: Path, output: Path) -> None:
    """Renames `written` to `output`; an earlier output is removed afterwards."""
    old = output.with_name(f".{output.name}.old-{secrets.token_hex(4)}")
    if output.exists():
        output.rename(old)
    written.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def check_replaceable(output: Path, force: bool) -> None:
    """Raises ConfigurationError for a folder that must not be overwritten: one that `qwen-triton build` did not make."""
    if not output.exists() or read_stamp(output) is not None or (output.is_dir() and not any(output.iterdir())):
        return
    if not (output / "config.json").is_file():
        raise ConfigurationError(f"{output}: exists, and is neither a checkpoint nor an engine; give another folder")
    if not force:
        raise ConfigurationError(
            f"{output}: was not made by qwen-triton build; --force replaces it, or give another folder"
        )
