"""`qwen-triton serve DEPLOYMENT`: renders the repository, starts tritonserver, watches over it, ends it in order."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import tempfile
from pathlib import Path

from .console import Phases
from .deployment import Deployment, load_deployment
from .models import resolve_model
from .placeholders import placeholders
from .preflight import check_machine, check_ports
from .render import render
from .server import TritonServer

PROMPT = "你好，你叫什么名字"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", type=Path, help="a deployment.yaml; deployments/ has examples")
    parser.add_argument("--log", type=Path, help="write tritonserver's log to this file instead of the terminal")


def run(arguments: argparse.Namespace) -> int:
    deployment = load_deployment(arguments.deployment)
    with tempfile.TemporaryDirectory(prefix="qwen-triton-") as work:
        return _serve(deployment, Path(work), arguments.log)


def _serve(deployment: Deployment, work: Path, log: Path | None) -> int:
    phases = Phases()
    phases.begin("checking the machine")
    check_machine()
    check_ports(deployment.server)
    phases.begin("rendering the model repository")
    repository = render(placeholders(deployment, resolve_model(deployment)), work / "repository")
    phases.begin("starting tritonserver and the engine")
    server = TritonServer(deployment.server, repository, work)
    stopping: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _: stopping.append(number))
    output = open(log, "ab") if log else None  # noqa: SIM115  open as long as the server runs
    server.start(output.fileno() if output else None)
    try:
        server.wait_ready(lambda _: _raise_if(stopping))
        phases.end()
        print(_ready_lines(deployment, phases.total_s()), flush=True)
        return _watch(server, stopping)
    except KeyboardInterrupt:
        return 0
    finally:
        server.stop()


def _raise_if(stopping: list[int]) -> None:
    if stopping:
        raise KeyboardInterrupt


def _watch(server: TritonServer, stopping: list[int]) -> int:
    while not stopping:
        if server.wait(0.2) is not None:
            print(f"qwen-triton: tritonserver ended with code {server.poll()}; its log says why", file=sys.stderr)
            return 1
    print("qwen-triton: stopping", file=sys.stderr)
    return 0


def _ready_lines(deployment: Deployment, seconds: float) -> str:
    server = deployment.server
    host = "localhost" if server.host in ("127.0.0.1", "0.0.0.0") else server.host
    body = json.dumps({"text_input": PROMPT, "max_tokens": 100, "bad_words": "", "stop_words": ""}, ensure_ascii=False)
    return f"""
ready in {seconds:.1f} s: {deployment.served_model_name} on the {deployment.engine.kind} engine
  HTTP     http://{host}:{server.http_port}
  gRPC     {host}:{server.grpc_port}
  metrics  http://{host}:{server.metrics_port}/metrics

try:
  curl -X POST {host}:{server.http_port}/v2/models/ensemble/generate -d {shlex.quote(body)}

Ctrl-C stops it."""
