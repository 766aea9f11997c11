"""`qwen-triton health DEPLOYMENT`: whether what `serve` runs answers now; for HEALTHCHECK and Kubernetes' exec probes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..deployment.schema import load_deployment
from ..launch.readiness import answers
from .ready_message import reachable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "exit code: 0 everything answers, 1 something does not (named on a line of its own)"
    parser.add_argument("deployment", type=Path, help="the deployment.yaml that `serve` was started with")


def run(arguments: argparse.Namespace) -> int:
    deployment = load_deployment(arguments.deployment)
    server, openai = deployment.server, deployment.openai
    urls = [f"http://{reachable(server.host)}:{server.http_port}/v2/health/ready"]
    if openai.enabled:
        urls.append(f"{openai.scheme}://{reachable(openai.host)}:{openai.port}/health/ready")
    silent = [url for url in urls if not answers(url)]
    for url in silent:
        print(f"{url} does not answer 200")
    return 1 if silent else 0
