"""`qwen-triton render DEPLOYMENT --output DIR`: the model repository of a deployment, ready for tritonserver."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..deployment.checkpoint_names import resolve_model
from ..deployment.schema import load_deployment
from ..repository.placeholders import placeholders
from ..repository.render import render

_EPILOG = """
examples:
  qwen-triton render deployments/cpu.yaml --output repository       then: qwen-triton server --model-repository repository

exit code: 0 written, 2 for a wrong deployment or a folder that render did not write
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("deployment", type=Path, help="a deployment.yaml; deployments/ has examples")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", required=True, help="a new folder, or one that render wrote before"
    )


def run(arguments: argparse.Namespace) -> int:
    deployment = load_deployment(arguments.deployment)
    folder = render(placeholders(deployment, resolve_model(deployment)), arguments.output)
    print(f"{folder}: five models; start it with: qwen-triton server --model-repository {folder}")
    return 0
