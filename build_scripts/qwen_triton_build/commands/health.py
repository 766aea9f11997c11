"""`qwen-triton health DEPLOYMENT`: checks that a served deployment answers; for HEALTHCHECK and Kubernetes' exec probes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..deployment.schema import load_deployment
from ..launch.readiness import answers
from .ready_message import reachable

_EPILOG = """
examples:
  HEALTHCHECK CMD qwen-triton health /deployment.yaml               in a Dockerfile

exit code: 0 every server answers, 1 one does not (its address is printed), 2 for a wrong deployment
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("deployment", type=Path, help="the deployment.yaml that `serve` was started with")


def run(arguments: argparse.Namespace) -> int:
    deployment = load_deployment(arguments.deployment)
    server, openai = deployment.server, deployment.openai
    urls = [f"http://{reachable(server.host_of('http'))}:{server.http_port}/v2/health/ready"]
    if openai.enabled:
        urls.append(f"{openai.scheme}://{reachable(openai.host)}:{openai.port}/health/ready")
    failing = [url for url in urls if not answers(url)]
    for url in failing:
        print(f"{url} does not answer 200")
    return 1 if failing else 0
