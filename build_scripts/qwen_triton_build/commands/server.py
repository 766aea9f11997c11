"""`qwen-triton server --model-repository DIR`: runs tritonserver alone, on any repository, until stopped."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter, ValidationError

from qwen_triton.errors import ConfigurationError
from qwen_triton_openai.settings import Host

from ..deployment.schema import ClosedApi, Server
from ..launch.launcher import END_SIGNALS, handle_end_signals
from ..launch.preflight import check_machine, check_ports, work_folder
from ..launch.tritonserver import TritonServer
from ..processes import raise_descriptor_limit

_EPILOG = """
examples:
  qwen-triton render deployments/cpu.yaml --output repository
  qwen-triton server --model-repository repository --http-port 9000

exit code: 0 after SIGTERM or Ctrl-C, 1 when tritonserver ended, 2 for a wrong flag or machine
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "--model-repository", type=Path, metavar="DIR", required=True, help="a rendered repository, or any other"
    )
    for key, default in (("http", "8000"), ("grpc", "8001"), ("metrics", "8002")):
        variable = f"{key.upper()}_PORT"
        port = os.environ.get(variable) or default
        parser.add_argument(
            f"--{key}-port", type=_port, metavar="PORT", default=port, help=f"default: {variable}, else {default}"
        )
    parser.add_argument(
        "--open-api",
        action="append",
        default=[],
        choices=get_args(ClosedApi),
        help="an API of Triton that any caller may use; without it, all of these are closed; may be repeated",
    )
    parser.add_argument(
        "--host", type=_host, default="127.0.0.1", help="address to listen at; 0.0.0.0 = all (default %(default)s)"
    )
    parser.add_argument(
        "--tritonserver", type=Path, metavar="FILE", help="the binary to start; default: found on the machine"
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs tritonserver until it ends; returns the exit code.

    Raises ConfigurationError for a wrong folder, a port that is taken, or a requirement that the machine does not meet.
    """
    if not arguments.model_repository.is_dir():
        raise ConfigurationError(f"--model-repository: {arguments.model_repository} is not a folder")
    settings = Server(
        host=arguments.host,
        http_port=arguments.http_port,
        grpc_port=arguments.grpc_port,
        metrics_port=arguments.metrics_port,
        open_apis=arguments.open_api,
        tritonserver=arguments.tritonserver,
    )
    raise_descriptor_limit()
    check_machine()
    check_ports(settings)
    with work_folder() as work:
        server = TritonServer(settings, arguments.model_repository.resolve(), work)
        handle_end_signals(_leave)
        try:
            server.start()
            code = server.wait()
        finally:
            server.stop()
    for line in filter(None, [server.killed_because, f"tritonserver ended with code {code}"]):
        print(f"qwen-triton: {line}", file=sys.stderr)
    return 1


def _leave(*_: object) -> None:
    """Ends the command; a second signal is ignored, so that it cannot interrupt the graceful stop."""
    for name in END_SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    sys.exit(0)


def _host(text: str) -> str:
    try:
        return str(TypeAdapter(Host).validate_python(text))
    except ValidationError as error:
        raise argparse.ArgumentTypeError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"expected a port from 1 to 65535, got {text!r}")
    return int(text)
