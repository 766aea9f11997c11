"""`qwen-triton serve DEPLOYMENT`: renders the repository, starts tritonserver, watches over it, ends it in order."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import tempfile
import time
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from .console import Phases
from .deployment import Deployment, load_deployment
from .models import resolve_model
from .placeholders import placeholders
from .preflight import check_machine, check_ports
from .render import render
from .server import TritonServer
from .server_log import ServerLog, default_log

PROMPT = "你好，你叫什么名字"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", type=Path, help="a deployment.yaml; deployments/ has examples")
    parser.add_argument(
        "--log", help="file for tritonserver's log, - = the terminal (default: a file, named at the start)"
    )


def run(arguments: argparse.Namespace) -> int:
    deployment = load_deployment(arguments.deployment)
    log = ServerLog(arguments.log or str(default_log(deployment.server.http_port)))
    with tempfile.TemporaryDirectory(prefix="qwen-triton-") as work:
        try:
            return _Serving(deployment, Path(work), log).run()
        finally:
            log.close()


class _Serving:
    """One run of `serve`; a signal ends it wherever it is."""

    def __init__(self, deployment: Deployment, work: Path, log: ServerLog) -> None:
        self._deployment = deployment
        self._work = work
        self._log = log
        self._phases = Phases()
        self._stopping = False

    def run(self) -> int:
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._stop)
        server = self._start()
        try:
            server.wait_ready(lambda _: self._leave_if_stopping())
            self._phases.end()
            print(_ready_lines(self._deployment, self._phases.total_s(), self._log), flush=True)
            return self._watch(server)
        except ConfigurationError as error:
            self._phases.end()
            raise ConfigurationError("\n".join([*self._log.telling_lines(), str(error), *self._where()])) from None
        except KeyboardInterrupt:
            self._phases.end()
            return 0
        finally:
            server.stop()

    def _start(self) -> TritonServer:
        settings = self._deployment.server
        self._phases.begin("checking the machine")
        check_machine()
        check_ports(settings)
        self._phases.begin("rendering the model repository")
        values = placeholders(self._deployment, resolve_model(self._deployment))
        repository = render(values, self._work / "repository")
        self._phases.begin("starting tritonserver and the engine")
        server = TritonServer(settings, repository, self._work)
        server.start(self._log.open())
        return server

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _leave_if_stopping(self) -> None:
        if self._stopping:
            raise KeyboardInterrupt

    def _watch(self, server: TritonServer) -> int:
        while not self._stopping:
            if server.poll() is not None:
                for line in (
                    *self._log.telling_lines(),
                    f"tritonserver ended with code {server.poll()}",
                    *self._where(),
                ):
                    print(f"qwen-triton: {line}", file=sys.stderr)
                return 1
            time.sleep(0.1)
        print("stopping: requests in flight may finish", file=sys.stderr)
        return 0

    def _where(self) -> list[str]:
        return [f"the whole log is in {self._log.path}"] if self._log.path else []


def _ready_lines(deployment: Deployment, seconds: float, log: ServerLog) -> str:
    server = deployment.server
    host = "localhost" if server.host in ("127.0.0.1", "0.0.0.0") else server.host
    body = json.dumps({"text_input": PROMPT, "max_tokens": 100, "bad_words": "", "stop_words": ""}, ensure_ascii=False)
    return f"""
ready in {seconds:.1f} s: {deployment.served_model_name} on the {deployment.engine.kind} engine
  HTTP     http://{host}:{server.http_port}
  gRPC     {host}:{server.grpc_port}
  metrics  http://{host}:{server.metrics_port}/metrics
  log      {log.path or "this terminal"}

try:
  curl -X POST {host}:{server.http_port}/v2/models/ensemble/generate -d {shlex.quote(body)}

Ctrl-C stops it."""
