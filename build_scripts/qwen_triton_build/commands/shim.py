"""`qwen-triton shim [DEPLOYMENT]`: runs the OpenAI-compatible server in front of a Triton that has the five models."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve import server_key
from qwen_triton.tensors.contract import BLS
from qwen_triton_openai.settings import FILES, ShimSettings

from ..deployment.schema import load_deployment
from ..launch.closed_apis import read_key
from ..processes import raise_descriptor_limit

_EPILOG = """
examples:
  qwen-triton shim deployments/cpu.yaml            the deployment's settings, its server, its model's name
  qwen-triton shim --triton-url gpu-7:8001 --model qwen3=tensorrt_llm_bls --port 9000
  qwen-triton shim --no-local-sockets              so that Triton's own metrics count every request

exit code: 0 after SIGTERM or Ctrl-C, 2 for a wrong deployment or flag
"""
_FLAGS = {"models": "--model", "adapters": "--adapter"}
"""Flags that are not spelt as their setting."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "deployment", type=Path, nargs="?", help="a deployment.yaml, for its keys `openai:` and `server:`"
    )
    parser.add_argument(
        "--triton-url", metavar="HOST:PORT", help="Triton's gRPC (default: the deployment's, 127.0.0.1:8001)"
    )
    parser.add_argument(
        "--no-local-sockets",
        dest="local_sockets",
        action="store_false",
        default=None,
        help="send every request through Triton's gRPC; by default text requests to a Triton on this machine go straight to "
        "the processes of its BLS, where a response takes less than half of the processor time (default: the deployment's "
        "`openai.local_sockets`)",
    )
    parser.add_argument("--host", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, metavar="PORT", help="port to listen on (default: OPENAI_PORT, 9000)")
    parser.add_argument(
        "--workers",
        type=lambda text: int(text) if text.isdigit() else text,
        metavar="N",
        help="processes that serve the port (default: the deployment's, auto: by cores)",
    )
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME[=MODEL]",
        help=f"a name that clients ask for and the Triton model that answers (default: {BLS}); may be repeated",
    )
    parser.add_argument(
        "--adapter",
        action="append",
        metavar="NAME[=SERVED]",
        help="a LoRA adapter of the engine and the served name of its model (default: the first); may be repeated",
    )
    for name in FILES:
        parser.add_argument(
            "--" + name.replace("_", "-"), type=Path, metavar="FILE", help=f"overrides the deployment's `openai.{name}`"
        )


def run(arguments: argparse.Namespace) -> int:
    from qwen_triton_openai.processes.server import serve

    raise_descriptor_limit()
    return serve(settings(arguments))


def settings(arguments: argparse.Namespace) -> ShimSettings:
    """Settings of the deployment, overridden by flags. Raises ConfigurationError for a wrong one."""
    base: dict[str, Any] = (
        _of_deployment(arguments.deployment) if arguments.deployment else {"port": _port_of_environment()}
    )
    names = [name.partition("=") for name in arguments.model or ()]
    models = {name: model or BLS for name, _, model in names}
    flags = {
        "triton_url": arguments.triton_url,
        "local_sockets": arguments.local_sockets,
        "host": arguments.host,
        "port": arguments.port,
        "workers": arguments.workers,
        "models": models or None,
        "adapters": _adapters(arguments.adapter or (), models or base.get("models", ShimSettings().models), base),
        **{name: getattr(arguments, name) for name in FILES},
    }
    given = {key: value for key, value in flags.items() if value is not None}
    try:
        return ShimSettings.model_validate({key: value for key, value in (base | given).items() if value is not None})
    except ValidationError as error:
        fault = error.errors()[0]
        key, own = str(fault["loc"][0]), fault["msg"].removeprefix("Value error, ")
        flag = _FLAGS.get(key, "--" + key.replace("_", "-"))
        reason = own if own != fault["msg"] else own.lower()
        raise ConfigurationError(f"{flag}: {reason}, got {fault['input']!r}") from None


def _adapters(named: Sequence[str], models: Mapping[str, str], base: Mapping[str, Any]) -> dict[str, str] | None:
    """The adapters of the flags, else the deployment's; those of a model that has no served name any more get the first."""
    first = next(iter(models), "")
    if named:
        return {name: model or first for name, _, model in (adapter.partition("=") for adapter in named)}
    return {name: model if model in models else first for name, model in base.get("adapters", {}).items()} or None


def _of_deployment(file: Path) -> dict[str, Any]:
    deployment = load_deployment(file)
    key = read_key(deployment.server)
    if key is not None:
        os.environ[server_key.VARIABLE] = key  # as for every client of a Triton that needs one
    loaded = deployment.shim_settings()
    return {**loaded.model_dump(include=set(ShimSettings.model_fields)), "limits": loaded.limits}


def _port_of_environment() -> int | None:
    value = os.environ.get("OPENAI_PORT")
    if value is not None and not value.isdigit():
        raise ConfigurationError(f"OPENAI_PORT: expected a port number, got {value!r}")
    return None if value is None else int(value)
