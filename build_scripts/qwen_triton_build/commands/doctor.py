"""`qwen-triton doctor [DEPLOYMENT]`: checks deployment and machine before the start; each fault comes with its remedy."""

from __future__ import annotations

import argparse
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..deployment.schema import load_deployment
from ..doctor.all_checks import checks_for
from ..doctor.check import run_checks
from ..doctor.filled_repository import deployment_of
from ..doctor.report import as_json, as_text, worst
from ..doctor.site import Site

_EPILOG = """
examples:
  qwen-triton doctor deployments/cpu.yaml
  qwen-triton doctor --model-repository /triton_model_repo      a repository that fill_template.py filled, by itself
  qwen-triton doctor deployment.yaml --model-repository /repo   such a repository, and the deployment's ports and shim
  qwen-triton doctor deployment.yaml --json | jq '.[] | select(.outcome != "ok")'

exit code: 0 all well, 1 warnings, 2 errors
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "deployment", type=Path, nargs="?", help="a deployment.yaml (deployments/ has examples); or give a repository"
    )
    parser.add_argument(
        "--model-repository", type=Path, metavar="DIR", help="check this filled repository, not one that is rendered"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Prints the findings; returns the exit code. Raises ConfigurationError for a wrong folder or deployment file."""
    repository = arguments.model_repository
    if repository is not None and not repository.is_dir():
        raise ConfigurationError(f"--model-repository: {repository} is not a folder")
    site = _site(arguments.deployment, repository)
    findings = run_checks(checks_for(site), site)
    print(as_json(findings) if arguments.json else as_text(findings))
    return worst(findings)


def _site(file: Path | None, repository: Path | None) -> Site:
    if file is not None:
        return Site(load_deployment(file), repository)
    if repository is None:
        raise ConfigurationError("nothing to check; give a deployment.yaml, --model-repository DIR, or both")
    return Site(deployment_of(repository), repository, serves=False)
