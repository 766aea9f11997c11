"""`qwen-triton bench overhead`: loads every target on the replay engine and prints each process's time per token."""

from __future__ import annotations

import argparse
import json
import tempfile
from contextlib import ExitStack
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..run.machine import describe_machine
from .measure import Cost, Work, measure
from .one_token import one_token_repository
from .setup import EmissionRate, measured_server, replay_deployment
from .table import LEGEND, encode_cost, header, row

TARGETS = ("core", "ensemble", "bls", "openai")
_ONE_TOKEN_TARGETS = ("bls", "openai")
_DEMO = Path(__file__).resolve().parents[3] / "demo" / "checkpoint"
_EPILOG = """
examples:
  qwen-triton bench overhead                                    all targets, 500 at once, 30,000 tokens/s offered
  qwen-triton bench overhead --flat-out --concurrency 1,64,500  as fast as it goes
  qwen-triton bench overhead --via bls --engine one-token       behind an engine that answers as NVIDIA's backend does
  qwen-triton bench overhead --via bls --repository /models/stock_repo    beside another repository, in the same run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument(
        "--via", default=",".join(TARGETS), metavar="TARGET,…", help="what is loaded (default %(default)s)"
    )
    parser.add_argument(
        "--engine",
        choices=["replay", "one-token"],
        default="replay",
        help="replay, or a stand-in for NVIDIA's backend in trt_llm: one token a response (default %(default)s)",
    )
    parser.add_argument("--concurrency", default="500", metavar="N,…", help="requests at once (default %(default)s)")
    parser.add_argument("--pace", type=float, default=30_000, metavar="T", help="tokens/s in all (default 30,000)")
    parser.add_argument("--flat-out", action="store_true", help="no pace: the engine emits as fast as it goes")
    parser.add_argument("--tokens-per-step", type=int, default=1, metavar="N", help="of a request (default 1)")
    parser.add_argument("--input-len", type=int, default=128, metavar="N", help="tokens of a prompt (default 128)")
    parser.add_argument("--output-len", type=int, default=256, metavar="N", help="tokens of an answer (default 256)")
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="requests for each at once (default 4)")
    parser.add_argument("-i", "--protocol", choices=["grpc", "http"], default="grpc", help="default %(default)s")
    parser.add_argument(
        "--model", type=Path, default=_DEMO, metavar="DIR", help="whose tokenizer is used (default: the demo's)"
    )
    parser.add_argument(
        "--repository", type=Path, action="append", default=[], metavar="DIR", help="measure this folder as well"
    )
    parser.add_argument("--only-repository", action="store_true", help="measure only the given folders")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit code: 0; 1 when a request failed. Raises ConfigurationError."""
    targets, concurrencies = _targets(arguments.via), _numbers(arguments.concurrency)
    rate = EmissionRate(None if arguments.flat_out else _positive(arguments.pace), arguments.tokens_per_step)
    for folder in arguments.repository:
        if not folder.is_dir():
            raise ConfigurationError(f"--repository: {folder} is not a folder")
    if arguments.engine == "one-token" and not set(targets) <= set(_ONE_TOKEN_TARGETS):
        raise ConfigurationError(f"--engine one-token: is reached by --via {','.join(_ONE_TOKEN_TARGETS)} only")
    deployed: list[Path | None] = [] if arguments.only_repository else [None]
    machine, costs = describe_machine(), []
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load before the run']}")
    print(f"{LEGEND}\n{header()}", flush=True)
    for concurrency in concurrencies:
        for repository in [*deployed, *arguments.repository]:
            costs += _measure_all(arguments, targets, concurrency, rate, repository)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": machine, "costs": [encode_cost(c) for c in costs]}))
    return 1 if any(c.figures.errors for c in costs) else 0


def _measure_all(
    arguments: argparse.Namespace, targets: list[str], concurrency: int, rate: EmissionRate, repository: Path | None
) -> list[Cost]:
    deployment = replay_deployment(arguments.model, rate, concurrency)
    work = Work(concurrency, arguments.input_len, arguments.output_len, arguments.rounds, arguments.protocol)
    name, step_ms, costs = repository.name if repository else "qwen-triton", rate.step_ms(concurrency), []
    with ExitStack() as stack:
        if arguments.engine == "one-token" and repository is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen-triton-")))
            repository = one_token_repository(deployment, folder, step_ms)
        server = stack.enter_context(measured_server(deployment, repository, with_shim="openai" in targets))
        for via in targets:
            costs.append(measure(server, via, work, name, step_ms / rate.tokens_per_step))
            print(row(costs[-1]), flush=True)
            for kind, count in costs[-1].figures.errors.items():
                print(f"[ERROR] {count} x {kind}")
    return costs


def _targets(text: str) -> list[str]:
    targets = text.split(",")
    for target in targets:
        if target not in TARGETS:
            raise ConfigurationError(f"--via: expected some of {', '.join(TARGETS)}, got {target!r}")
    return targets


def _numbers(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigurationError(f"--concurrency: expected whole numbers with commas, got {text!r}") from None
    if min(numbers) < 1:
        raise ConfigurationError(f"--concurrency: must be 1 or more, got {min(numbers)}")
    return numbers


def _positive(pace: float) -> float:
    if pace <= 0:
        raise ConfigurationError(f"--pace: must be above 0, got {pace:g}; --flat-out has no pace")
    return pace
