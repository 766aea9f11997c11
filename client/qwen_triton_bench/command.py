"""`qwen-triton bench core|ensemble|bls|openai … WORKLOAD`: loads a running server and prints the figures."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import load_deployment

from .agents import command as agents
from .options import MODES, REFUSED_NAMES, add_mode_options
from .overhead import command as overhead
from .plan import Plan, limits, make_plan
from .report.explain import explain_lines
from .report.perfetto import encode_trace
from .report.reference import Reference
from .report.results import encode_result
from .report.table import Row, boxed, error_lines, request_lines, stock_rows, stream_rows
from .run.arrivals import Closed
from .run.load import Bounds, Load
from .run.machine import describe_machine
from .run.progress import ProgressBar
from .run.samples import Run
from .run.server import running_server, running_shim
from .run.statistics import Figures, figures
from .run.token_check import check_counts
from .targets.open_target import OpenTarget, open_target

_CHECKED_TEXTS = 64
_WARMUP_AT_ONCE = 4
_BUSY = 0.8
_HIDDEN = ("api_key", "json", "op_stats_csv", "explain", "command", "verbose", "dump_perfetto_trace", *REFUSED_NAMES)
_TRACE = Path("perfetto.json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    modes = parser.add_subparsers(dest="mode", metavar="MODE", required=True)
    for name, (_, summary) in MODES.items():
        add_mode_options(modes.add_parser(name, help=summary, description=summary), name)
    summary = "the server's own cost: processor time of each process for each endpoint, without a model"
    overhead.add_arguments(modes.add_parser("overhead", help=summary, description=summary))
    summary = (
        "agents that send their whole history every turn, and what a neighbour's small question waits, without a model"
    )
    agents.add_arguments(modes.add_parser("agents", help=summary, description=summary))
    old_name = modes.add_parser("line", description=summary)  # without `help=` the list of modes leaves it out
    old_name.set_defaults(mode="overhead")
    overhead.add_arguments(old_name)


def run(arguments: argparse.Namespace) -> int:
    """Returns the exit code: 0; 1 when no request was answered or figures are not those of --check-perf-json.

    Raises ConfigurationError.
    """
    if arguments.mode == "overhead":
        return overhead.run(arguments)
    if arguments.mode == "agents":
        return agents.run(arguments)
    reference = _reference(arguments)
    with ExitStack() as stack:
        if arguments.deployment:
            _serve(arguments, stack)
        opened = open_target(arguments)
        stack.callback(opened.target.close)
        plan = make_plan(arguments, opened.encode, as_ids=opened.as_ids)
        if not opened.counts_prompts:
            plan = replace(plan, conversations=[[replace(p, input_tokens=None) for p in c] for c in plan.conversations])
        machine = describe_machine() | {"server": opened.server}
        result = _measure(arguments, opened, plan)
        checks = check_counts(result, opened.encode)
    found = figures(result, limits(arguments))
    _print(arguments, plan, found, result, checks)
    _write(arguments, found, result, machine)
    faults = reference.faults(found) if reference else []
    print("".join(f"[ERROR] --check-perf-key {arguments.check_perf_key}: {fault}\n" for fault in faults), end="")
    return 0 if found.answered and not faults else 1


def _reference(arguments: argparse.Namespace) -> Reference | None:
    """What the figures are compared with; read first, so that a fault of it costs no run."""
    file, key = arguments.check_perf_json, arguments.check_perf_key
    if file is None and key is not None:
        raise ConfigurationError("--check-perf-key: is an entry of --check-perf-json; give that too")
    return file and Reference.read(file, key, arguments.check_perf_atol, arguments.check_perf_rtol)


def _serve(arguments: argparse.Namespace, stack: ExitStack) -> None:
    """Starts the deployment's server (and a shim, for mode openai) and sets the URLs of the arguments to it."""
    if arguments.url:
        raise ConfigurationError("--url and --deployment: give one, a server that runs or one to start")
    print("[INFO] Starting the deployment's server.", flush=True)
    deployment = load_deployment(arguments.deployment)
    server = stack.enter_context(running_server(deployment))
    if arguments.mode == "openai":
        arguments.triton_url = server.grpc
        arguments.url, _ = stack.enter_context(running_shim(server.grpc, deployment.shim_settings().workers))
    else:
        arguments.url = server.url(arguments.protocol)


def _measure(arguments: argparse.Namespace, opened: OpenTarget, plan: Plan) -> Run:
    if arguments.warmup > 0:
        print("[INFO] Warm up for benchmarking.", flush=True)
        bounds = Bounds(arguments.warmup, None, arguments.silence, arguments.stream_timeout)
        Load(opened.target, plan.conversations[: arguments.warmup], Closed(_WARMUP_AT_ONCE), bounds, 0).run()
    what = f"{plan.bounds.conversations} prompts" if not arguments.duration else f"prompts for {arguments.duration:g} s"
    print(f"[INFO] Start benchmarking on {what}, {plan.arrivals}.", flush=True)
    progress = ProgressBar()
    result = Load(opened.target, plan.conversations, plan.arrivals, plan.bounds, _CHECKED_TEXTS).run(progress)
    progress.end()
    return result


def _print(arguments: argparse.Namespace, plan: Plan, f: Figures, run: Run, checks: Sequence[str]) -> None:
    if run.interrupted:
        print("[INFO] Interrupted: these are the figures until then.")
    if plan.dropped:
        print(f"[INFO] {plan.dropped} prompts longer than --max-input-len were left out.")
    print(f"[INFO] Total Latency: {1e3 * f.seconds:.3f} ms")
    print(f"[INFO] Sum of request latencies: {1e3 * f.latencies_sum:.3f} ms")
    print(boxed(stock_rows(f)))
    print(boxed(stream_rows(f)))
    print("\n".join([*error_lines(f), *(f"[INFO] {check}" for check in checks)]))
    if f.client_cpu_s > _BUSY * f.seconds:
        print("[WARN] This client used most of a core: a faster server would not show. Use fewer, longer requests.")
    if arguments.verbose:
        print("\n".join(request_lines(run)))
    if arguments.explain:
        print("\n".join(explain_lines()))
    sys.stdout.flush()


def _write(arguments: argparse.Namespace, f: Figures, run: Run, machine: dict[str, str]) -> None:
    if arguments.json:
        parameters = {k: _plain(v) for k, v in sorted(vars(arguments).items()) if v is not None and k not in _HIDDEN}
        name = arguments.name or f"{arguments.mode} {arguments.workload}"
        _save(arguments.json, json.dumps(encode_result(name, parameters, machine, f, run)))
    if arguments.op_stats_csv:
        _append(arguments.op_stats_csv, [*stock_rows(f), *stream_rows(f)])
    if arguments.dump_perfetto_trace:
        _save(_TRACE, json.dumps(encode_trace(run)))
        print(f"[INFO] {_TRACE} has the requests; open it at ui.perfetto.dev.")


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def _append(file: Path, rows: Sequence[Row]) -> None:
    """A row of values; a new or empty file gets a header of names before it."""
    try:
        with file.open("a", encoding="utf-8", newline="") as opened:
            lines = csv.writer(opened)
            if not opened.tell():
                lines.writerow([name for name, _ in rows])
            lines.writerow([value for _, value in rows])
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None


def _save(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file}: cannot be written: {error.strerror}") from None
