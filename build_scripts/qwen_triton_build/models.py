"""Which folder a deployment's model is in."""

from __future__ import annotations

from pathlib import Path

from qwen_triton.engines import hub

from .deployment import Deployment


def resolve_model(deployment: Deployment) -> Path:
    """The checkpoint's folder; a hub name is fetched. Raises ConfigurationError with the remedy."""
    return hub.resolve_model(deployment.model, deployment.hub)
