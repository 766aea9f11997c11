"""Which folder a deployment's model is in."""

from __future__ import annotations

from pathlib import Path

from qwen_triton.errors import ConfigurationError

from .deployment import Deployment


def resolve_model(deployment: Deployment) -> Path:
    """The checkpoint's folder."""
    folder = Path(deployment.model)
    if not folder.is_dir():
        raise ConfigurationError(f"model: {deployment.model!r} is not a folder")
    return folder
