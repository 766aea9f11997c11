"""Which folder a deployment's model is in."""

from __future__ import annotations

from pathlib import Path

from qwen_triton.checkpoint import hub

from .model_names import full_name
from .schema import Deployment


def resolve_model(deployment: Deployment) -> Path:
    """The checkpoint's folder; a hub name, or a short one, is fetched. Raises ConfigurationError with the remedy."""
    return hub.resolve_model(full_name(deployment.model), deployment.hub)
