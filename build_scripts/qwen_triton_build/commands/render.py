"""`qwen-triton render DEPLOYMENT --output DIR`: the model repository of a deployment, ready for tritonserver."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..deployment.checkpoint_names import resolve_model
from ..deployment.schema import load_deployment
from ..repository.placeholders import placeholders
from ..repository.render import render


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", type=Path, help="a deployment.yaml; deployments/ has examples")
    parser.add_argument("--output", type=Path, required=True, help="a new folder, or one that render wrote before")


def run(arguments: argparse.Namespace) -> int:
    deployment = load_deployment(arguments.deployment)
    folder = render(placeholders(deployment, resolve_model(deployment)), arguments.output)
    print(f"{folder}: five models; start it with: qwen-triton server --model-repository {folder}")
    return 0
