"""`qwen-triton serve DEPLOYMENT`: renders the model repository, then runs tritonserver and the OpenAI shim until stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..deployment.checkpoint_names import resolve_model
from ..deployment.schema import Deployment, load_deployment
from ..doctor.all_checks import checks_for
from ..doctor.check import run_checks
from ..doctor.site import Site
from ..launch.engine_progress import EngineProgress
from ..launch.launcher import Launcher, ManagedProcess, handle_end_signals
from ..launch.log import ServerLog, default_log
from ..launch.managed_processes import ManagedShim, ManagedTriton, missing_shim_packages
from ..launch.preflight import work_folder
from ..launch.ranks import ranks
from ..launch.tritonserver import TritonServer
from ..processes import raise_descriptor_limit
from ..repository.placeholders import placeholders
from ..repository.render import render
from .console import ConsoleProgress, Phases
from .ready_message import reachable, ready_message

_EPILOG = """
examples:
  qwen-triton serve deployments/cpu.yaml
  qwen-triton serve deployment.yaml --log - --on-failure restart    in a container: logs to the terminal
  GRPC_PORT=9001 qwen-triton serve deployment.yaml                  also HTTP_PORT, METRICS_PORT, OPENAI_PORT

exit code: 0 after SIGTERM or Ctrl-C, 1 when a process ended that is not started again, 2 for a wrong deployment
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("deployment", type=Path, help="a deployment.yaml; deployments/ has examples")
    parser.add_argument(
        "--log",
        metavar="FILE",
        help="file for the processes' logs, - = the terminal (default: a file for each, named at the start)",
    )
    parser.add_argument(
        "--ignore", action="append", default=[], metavar="CHECK", help="start although the doctor's check CHECK fails"
    )
    parser.add_argument(
        "--on-failure",
        choices=("exit", "restart"),
        help="what to do when a process ends unexpectedly (default: the deployment's server.on_failure)",
    )


def run(arguments: argparse.Namespace) -> int:
    handle_end_signals(lambda *_: sys.exit(0))  # until the launcher takes them over
    raise_descriptor_limit()
    deployment = load_deployment(arguments.deployment)
    with work_folder() as work:
        return _Serving(arguments, deployment, work).run()


class _Serving:
    """One run of `serve`."""

    def __init__(self, arguments: argparse.Namespace, deployment: Deployment, work: Path) -> None:
        self._file: Path = arguments.deployment
        self._log_target: str | None = arguments.log
        self._ignored: list[str] = arguments.ignore
        self._deployment = deployment
        self._restart = (arguments.on_failure or deployment.server.on_failure) == "restart"
        self._work = work
        self._phases = Phases()
        self._log = ServerLog(self._log_target or str(default_log(deployment.server.http_port)))
        self._shim: ManagedShim | None = None

    def run(self) -> int:
        settings = self._deployment.server
        try:
            processes = self._prepare()
            progress = ConsoleProgress(self._phases, self._log.last_line, EngineProgress(self._log.path).news)
            restarts = settings.max_restarts if self._restart else 0
            return Launcher(processes, restarts, settings.ready_timeout_s, progress).run(self._announce)
        except ConfigurationError:
            self._phases.end()
            raise

    def _prepare(self) -> list[ManagedProcess]:
        """Makes everything that can fail before a process is started."""
        deployment, settings = self._deployment, self._deployment.server
        self._phases.begin("checking deployment and machine")
        self._examine()
        self._phases.begin("rendering the model repository")
        checkpoint = resolve_model(deployment)
        values = placeholders(deployment, checkpoint)
        repository = render(values, self._work / "repository")
        self._phases.begin("starting the server, the engine and the shim")
        server = TritonServer(settings, repository, self._work, ranks(deployment))
        self._shim = self._make_shim(checkpoint)
        return [ManagedTriton(server, self._log), *filter(None, [self._shim])]

    def _examine(self) -> None:
        """Runs the doctor's quick checks: prints warnings; raises ConfigurationError with the remedies of all errors."""
        site = Site(self._deployment)
        findings = run_checks(checks_for(site), site, thorough=False)
        for finding in findings:
            if finding.outcome == "warning":
                self._phases.report(f"{finding.check}: {finding.message}")
        errors = [f.message for f in findings if f.outcome == "error" and f.check not in self._ignored]
        if errors:
            raise ConfigurationError("\n".join(errors))

    def _make_shim(self, checkpoint: Path) -> ManagedShim | None:
        openai = self._deployment.openai
        if not openai.enabled:
            return None
        missing = missing_shim_packages()
        if missing:
            self._phases.report(f"no OpenAI shim: {missing[0]} is not installed; pip install 'qwen-triton[shim]'")
            return None
        triton = f"{reachable(self._deployment.server.host_of('grpc'))}:{self._deployment.server.grpc_port}"
        # one file has one log: two would overwrite each other
        log = self._log if self._log_target else ServerLog(str(default_log(openai.port, "shim")))
        drain_s = openai.drain_notice_s + openai.drain_s
        return ManagedShim(
            self._file, triton, checkpoint, f"{openai.scheme}://{reachable(openai.host)}:{openai.port}", drain_s, log
        )

    def _announce(self) -> None:
        self._phases.end()
        url = None if self._shim is None else self._shim.url
        print(ready_message(self._deployment, self._phases.total_s(), url, self._log.path), flush=True)
