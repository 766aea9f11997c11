"""Reads a JSON object from a file of a checkpoint or an engine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ConfigurationError


def read_json_object(file: Path, remedy: str) -> dict[str, Any]:
    """The object in `file`. Raises ConfigurationError, with `remedy`, for a missing file, no JSON, or no object."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(f"{file}: no such file; {remedy}") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{file}: cannot be read as JSON ({error}); {remedy}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{file}: must hold a JSON object; {remedy}")
    return content
