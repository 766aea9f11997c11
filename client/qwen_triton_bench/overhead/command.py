"""`qwen-triton bench overhead`: loads every target on the replay engine and prints each process's time per token."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import Deployment

from ..options import counts
from ..run.machine import describe_machine
from .curve import curve_lines, setting_name
from .floor import FLOOR, floor_repository, ratios
from .measure import Cost, Work, measure
from .mock import LEGEND as MOCK_LEGEND
from .mock import MOCK, check_files, mock_header, mock_row
from .one_token import one_token_repository
from .setup import EmissionRate, MeasuredServer, measured_server, replay_deployment
from .table import LEGEND, encode_cost, header, ratio_lines, row

TARGETS = (FLOOR, "core", "ensemble", "bls", "openai")
COSTS: Mapping[str, Any] = {
    "via": ",".join(TARGETS), "concurrency": "500", "pace": 30_000.0, "input_len": 128, "output_len": 256, "rounds": 4,
}  # fmt: skip
"""What the command line leaves out, without --mock."""
CURVED = ("bls", "openai")
"""Targets whose responses the setting of --curve bounds."""
_ONE_TOKEN_TARGETS = ("bls", "openai")
_DEMO = Path(__file__).resolve().parents[3] / "demo" / "checkpoint"
_EPILOG = """
floor: a model that only makes tokens and sends them, on a server of its own; the other figures are printed as ratios to it.

--mock: prompts of 32 tokens, answers of 512, at 64, 128, 256, 512, 1024 and 2048 at once, twice each, through openai, flat
out; each may be given otherwise.

examples:
  qwen-triton bench overhead                                    all targets, 500 at once, 30,000 tokens/s offered
  qwen-triton bench overhead --flat-out --concurrency 1,64,500  as fast as it goes
  qwen-triton bench overhead --via bls --engine one-token       behind an engine that answers as NVIDIA's backend does
  qwen-triton bench overhead --mock --concurrency 64,256        tokens/s, TTFT, gaps and processor time of the whole front
  qwen-triton bench overhead --via bls,openai --curve 2000,4000,8000,16000     processor time against gaps
  qwen-triton bench overhead --via floor,bls,floor,bls          alternating, for a ratio that varies less
  qwen-triton bench overhead --via bls --repository /models/stock_repo    beside another repository, in the same run
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("--mock", action="store_true", help="the form in which front ends are compared, see the epilog")
    parser.add_argument("--via", metavar="TARGET,…", help=f"what is loaded (default {COSTS['via']})")
    parser.add_argument(
        "--engine",
        choices=["replay", "one-token"],
        default="replay",
        help="replay, or a stand-in for NVIDIA's backend in trt_llm: one token a response (default %(default)s)",
    )
    parser.add_argument("--concurrency", metavar="N,…", help="requests at once (default 500)")
    parser.add_argument("--pace", type=float, metavar="T", help="tokens/s in all (default 30,000; with --mock: none)")
    parser.add_argument("--flat-out", action="store_true", help="no pace: the engine emits as fast as it goes")
    parser.add_argument("--tokens-per-step", type=int, default=1, metavar="N", help="of a request (default 1)")
    parser.add_argument("--input-len", type=int, metavar="N", help="tokens of a prompt (default 128)")
    parser.add_argument("--output-len", type=int, metavar="N", help="tokens of an answer (default 256)")
    parser.add_argument(
        "--output-stdev", type=int, default=0, metavar="N", help="deviation of their lengths (default 0)"
    )
    parser.add_argument(
        "--curve", metavar="R,…", help="the most responses a second: measures each, prints processor time against gaps"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="requests for each at once (default 4)")
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
    _set_defaults(arguments)
    targets, concurrencies = _targets(arguments.via), counts(arguments.concurrency, "--concurrency")
    rate = EmissionRate(None if arguments.pace is None else _positive(arguments.pace), arguments.tokens_per_step)
    check_files(targets, arguments.protocol, concurrencies)
    paces = _paces(arguments)
    for folder in arguments.repository:
        if not folder.is_dir():
            raise ConfigurationError(f"--repository: {folder} is not a folder")
    if arguments.engine == "one-token" and not set(targets) <= {FLOOR, *_ONE_TOKEN_TARGETS}:
        raise ConfigurationError(f"--engine one-token: is reached by --via {','.join(_ONE_TOKEN_TARGETS)} only")
    machine, costs = describe_machine(), []
    print(f"{machine['processor']}, {machine['cores']} cores, load {machine['load before the run']}")
    print(f"{MOCK_LEGEND}\n{mock_header()}" if arguments.mock else f"{LEGEND}\n{header()}", flush=True)
    for concurrency in concurrencies:
        costs += _measure_all(arguments, targets, concurrency, rate, paces)
    found = ratios(costs)
    if arguments.curve:
        print(*curve_lines([c for c in costs if c.via in CURVED]), sep="\n")
    print(*ratio_lines(found), sep="\n", end="")
    if arguments.json:
        encoded = {"machine": machine, "costs": [encode_cost(c) for c in costs], "ratios_to_floor": found}
        arguments.json.write_text(json.dumps(encoded))
    return 1 if any(c.figures.errors for c in costs) else 0


def _measure_all(
    arguments: argparse.Namespace, targets: list[str], concurrency: int, rate: EmissionRate, paces: list[int]
) -> list[Cost]:
    """All targets of all repositories. The floor's server stays for all of them, so that it may be measured in between."""
    costs = []
    deployments = [replay_deployment(arguments.model, rate, concurrency, pace) for pace in paces]
    names = [setting_name(pace) for pace in paces] if arguments.curve else ["qwen-triton"]
    lengths = (arguments.input_len, arguments.output_len)
    work = Work(concurrency, *lengths, arguments.rounds, arguments.protocol, arguments.output_stdev)
    step_ms = rate.step_ms(concurrency)
    served: list[tuple[str, Deployment, Path | None]] = []
    if not arguments.only_repository:
        served += [(name, deployment, None) for name, deployment in zip(names, deployments, strict=True)]
    served += [(folder.name, deployments[0], folder) for folder in arguments.repository]
    with ExitStack() as floors:
        floor = _floor(floors, deployments[0], rate, step_ms) if FLOOR in targets else None
        for name, deployment, repository in served:
            with ExitStack() as stack:
                if arguments.engine == "one-token" and repository is None:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen-triton-")))
                    repository = one_token_repository(deployment, folder, step_ms)
                server = stack.enter_context(measured_server(deployment, repository, with_shim="openai" in targets))
                for via in targets:
                    if via == FLOOR and floor is not None:
                        cost = measure(floor, via, work, "", step_ms / rate.tokens_per_step, arguments.model)
                    else:
                        cost = measure(server, via, work, name, step_ms / rate.tokens_per_step)
                    costs.append(cost)
                    print(mock_row(cost) if arguments.mock else row(cost), flush=True)
                    for kind, count in cost.figures.errors.items():
                        print(f"[ERROR] {count} x {kind}")
    return costs


def _floor(stack: ExitStack, deployment: Deployment, rate: EmissionRate, step_ms: float) -> MeasuredServer:
    """The floor's server, until the stack ends."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="qwen-triton-")))
    tokenizer = Path(deployment.model) / "tokenizer.json"
    repository = floor_repository(tokenizer, folder, step_ms, rate.tokens_per_step)
    return stack.enter_context(measured_server(deployment, repository, with_shim=False))


def _paces(arguments: argparse.Namespace) -> list[int]:
    """The values of `repository.max_responses_per_s`; 0 = by the machine's cores."""
    return [0] if arguments.curve is None else counts(arguments.curve, "--curve")


def _set_defaults(arguments: argparse.Namespace) -> None:
    """Fills in what the command line leaves out; a pace of None is none."""
    if arguments.flat_out and arguments.pace is not None:
        raise ConfigurationError("--flat-out: has no pace; leave out one of --flat-out and --pace")
    for name, value in (MOCK if arguments.mock else COSTS).items():
        if getattr(arguments, name) is None and not (name == "pace" and arguments.flat_out):
            setattr(arguments, name, value)


def _targets(text: str) -> list[str]:
    targets = text.split(",")
    for target in targets:
        if target not in TARGETS:
            raise ConfigurationError(f"--via: expected some of {', '.join(TARGETS)}, got {target!r}")
    return targets


def _positive(pace: float) -> float:
    if pace <= 0:
        raise ConfigurationError(f"--pace: must be above 0, got {pace:g}; --flat-out has no pace")
    return pace
