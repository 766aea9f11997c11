"""Resolves a deployment's model to a folder; knows short names of Qwen checkpoints, such as `qwen2.5-14b-instruct`."""

from __future__ import annotations

from pathlib import Path

from qwen_triton.checkpoint import hub

from .schema import Deployment

_SIZES = {
    "Qwen1.5": ("0.5B", "1.8B", "4B", "7B", "14B", "32B", "72B", "110B"),
    "Qwen2": ("0.5B", "1.5B", "7B", "72B"),
    "Qwen2.5": ("0.5B", "1.5B", "3B", "7B", "14B", "32B", "72B"),
    "Qwen3": ("0.6B", "1.7B", "4B", "8B", "14B", "32B"),
}
_KINDS = {
    "Qwen1.5": ("", "-Chat", "-Chat-GPTQ-Int4", "-Chat-AWQ"),
    "Qwen2": ("", "-Instruct", "-Instruct-GPTQ-Int4", "-Instruct-AWQ"),
    "Qwen2.5": ("", "-Instruct", "-Instruct-GPTQ-Int4", "-Instruct-AWQ"),
    "Qwen3": ("", "-Base"),
}
SHORT_NAMES = {
    f"{series}-{size}{kind}".lower(): f"Qwen/{series}-{size}{kind}"
    for series, sizes in _SIZES.items()
    for size in sizes
    for kind in _KINDS[series]
}


def full_name(model: str) -> str:
    """The hub name of a short name (Qwen/Qwen2.5-14B-Instruct); any other text unchanged."""
    return SHORT_NAMES.get(model.lower(), model)


def resolve_model(deployment: Deployment) -> Path:
    """The checkpoint's folder; fetches a hub name or a short name. Raises ConfigurationError with the remedy."""
    return hub.resolve_model(full_name(deployment.model), deployment.hub, deployment.revision)
