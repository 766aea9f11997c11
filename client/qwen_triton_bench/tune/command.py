"""`qwen-triton tune DEPLOYMENT --space … [--load 'MODE … WORKLOAD …']`: measures settings and names the best."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..command import add_arguments as add_bench_arguments
from ..command import run as run_bench
from ..report.table import boxed
from .ranking import LatencyLimit, rank, rows, why_not
from .space import read_space
from .sweep import Outcome, run_variant
from .variant import write_variants

_LOAD = "bls -c 16 --num-requests 64 token-norm-dist --input-mean 128 --output-mean 64"
_EPILOG = f"""
Each setting is served, loaded and stopped; its deployment, figures and raw samples stay in --results. The same command
goes on where it was stopped. Keys are paths in the deployment; build.… builds an engine for each value first.

  qwen-triton tune deployments/cpu.yaml --space engine.max_num_seqs=16,64 --space engine.profile=exact,int8
  qwen-triton tune deployments/vllm.yaml --space deployments/tuning/vllm.yaml --max-latency 20000
  qwen-triton tune deployments/replay.yaml --space deployments/tuning/two-builds.yaml --max-latency 20000 \\
      --load 'core --num-requests 500 --max-input-len 1024 token-norm-dist --input-mean 256 --output-mean 256'

Without --load: {_LOAD}
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _EPILOG
    parser.add_argument("deployment", type=Path, help="the deployment that is varied; it is not changed")
    parser.add_argument(
        "--space",
        action="append",
        required=True,
        metavar="KEY=V,V|FILE",
        help="what to try; more than once = combinations",
    )
    parser.add_argument("--results", type=Path, default=Path("tuning"), metavar="DIR", help="default %(default)s/")
    for name, words in (("latency", "latency"), ("ttft", "time to first token"), ("tpot", "time per output token")):
        parser.add_argument(
            f"--max-{name}", type=float, metavar="MS", help=f"the best keeps its P99 {words} below this"
        )
    parser.add_argument(
        "--load", default=_LOAD, metavar="'MODE … WORKLOAD …'", help="as `qwen-triton bench` takes it, quoted"
    )


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit code: 0; 1 when no setting is within the limits; 130 after Ctrl-C. Raises ConfigurationError."""
    load = shlex.split(arguments.load)
    _check_load(load)
    variants = write_variants(arguments.deployment, read_space(arguments.space), arguments.results, load)
    limits = _limits(arguments)
    outcomes: list[Outcome] = []
    code = 0
    try:
        for n, variant in enumerate(variants, 1):
            print(f"[{n}/{len(variants)}] {variant.setting.name}", end=" … ", flush=True)
            outcomes.append(run_variant(variant, load, _bench))
            print(_one_line(outcomes[-1]), flush=True)
    except KeyboardInterrupt:
        print("stopped; the same command goes on here")
        code = 130
    return _conclude(outcomes, limits, arguments.results) or code


def _check_load(load: Sequence[str]) -> None:
    """Checks the load before any server is started. Raises ConfigurationError; argparse exits for unknown options."""
    given = _parse(load)
    if given.mode == "overhead":
        raise ConfigurationError("tune needs a load of a deployment: core, ensemble, bls or openai")
    for name in ("url", "deployment", "json", "name"):
        if getattr(given, name):
            raise ConfigurationError(f"--{name}: tune gives this itself; leave it out")


def _parse(load: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qwen-triton bench")
    add_bench_arguments(parser)
    return parser.parse_args(load)


def _bench(command: Sequence[str]) -> int:
    return run_bench(_parse(command))


def _limits(arguments: argparse.Namespace) -> list[LatencyLimit]:
    given = (
        LatencyLimit("latency P99", "latency", arguments.max_latency or 0),
        LatencyLimit("TTFT P99", "first_token", arguments.max_ttft or 0),
        LatencyLimit("TPOT P99", "time_per_output_token", arguments.max_tpot or 0),
    )
    return [limit for limit in given if limit.most_ms]


def _one_line(outcome: Outcome) -> str:
    if outcome.figures is None:
        return outcome.reason
    made = "" if outcome.made else " (measured before)"
    return f"{outcome.figures['output_tokens_per_second']:.1f} tokens/s{made}"


def _conclude(outcomes: Sequence[Outcome], limits: Sequence[LatencyLimit], folder: Path) -> int:
    if not outcomes:
        return 1
    ranked = rank(outcomes, limits)
    print(boxed(rows(ranked, limits), ("Setting", "Figures")))
    best = ranked[0]
    if why_not(best, limits):
        print("none is within the limits", file=sys.stderr)
        return 1
    under = " and ".join(f"{limit.name} ≤ {limit.most_ms:g} ms" for limit in limits)
    print(f"best{f' with {under}' if under else ''}: {best.variant.setting.name}")
    print(f"serve it:   qwen-triton serve {best.variant.file}")
    print(f"compare:    qwen-triton report {folder}/*.json -o {folder}/report.html")
    return 0
