"""Measures the rows that are asked for, one after another, and prints one table: see tests/gpu/figures.sh."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import qwen_triton
from qwen_triton_bench.run.machine import describe_machine

from .loads import FigureError, Load, measure
from .models import MODELS, Model, write_model
from .systems import ENGINE, Machine, Served, missing, rust_front_missing, with_arguments, write_interpreter
from .table import LEGEND, Row, goals, table

WAYS = ("ours-1", "vllm-1", "alone", "vllm-4", "vllm-rust", "ours-auto", "ours-2", "ours-3", "ours-4")
"""`vllm-N`: API processes; `vllm-rust`: its front end in Rust; `ours-N`: BLS instances and shims, auto: as by default; `alone`:
no server."""
_SMALL = [f"0.5b-bf16/{way}" for way in WAYS]
_LARGE = [f"{model}/{way}" for model in ("14b-gptq", "14b-bf16", "14b-fp8") for way in ("ours-1", "alone")]
_QUICK = [*(f"0.5b-bf16/{way}" for way in WAYS[:4]), *_LARGE[:2]]
_LOAD_S = 120.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/gpu/figures.sh [--venv FOLDER]",
        description=__doc__,
        epilog=f"Rows are MODEL/WAY; models: {', '.join(MODELS)}; ways: {', '.join(WAYS)}.",
    )
    parser.add_argument("--python", default="python3", help="vLLM's interpreter (default %(default)s)")
    parser.add_argument("--site", type=Path, metavar="FOLDER", help="a folder for its path, where vLLM is")
    parser.add_argument("--rows", metavar="ROW,…", help="the rows to measure, in this order (default: all)")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(_QUICK)}")
    parser.add_argument(
        "--load-format", default="dummy", help="of the weights; dummy = random ones (default %(default)s)"
    )
    parser.add_argument(
        "--checkpoint", action="append", default=[], metavar="MODEL=FOLDER", help="a folder with weights for a model"
    )
    parser.add_argument(
        "--engine", type=json.loads, default={}, metavar="JSON", help="further arguments of vLLM's engine, for all rows"
    )
    parser.add_argument("--requests", type=int, metavar="N", help="requests of each load, in place of the table's")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="measure each load so often (default 1)")
    parser.add_argument("--within", type=float, metavar="S", help="begin no row after so many seconds less 60")
    parser.add_argument("--ready", type=float, default=300, metavar="S", help="longest start of a server (default 300)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, after each row")
    parser.add_argument("--logs", type=Path, metavar="FOLDER", help="keep the log of each row there")
    arguments = parser.parse_args()
    try:
        arguments.rows = _rows(arguments)
        arguments.folders = dict(pair.split("=", 1) for pair in arguments.checkpoint)
    except ValueError as error:
        parser.error(str(error))
    return arguments


def _rows(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    names = arguments.rows.split(",") if arguments.rows else _QUICK if arguments.quick else [*_SMALL, *_LARGE]
    rows = []
    for name in names:
        model, _, way = name.partition("/")
        if model not in MODELS or way not in WAYS:
            raise ValueError(f"--rows {name}: expected MODEL/WAY with {', '.join(MODELS)} and {', '.join(WAYS)}")
        rows.append((model, way))
    return rows


class _Run:
    """All rows of one command."""

    def __init__(self, arguments: argparse.Namespace, work: Path) -> None:
        self._arguments = arguments
        self._began = time.monotonic()
        python = shutil.which(arguments.python)
        if python is None:
            raise FigureError(f"--python: {arguments.python} is no program here")
        wrapped = write_interpreter(python, arguments.site, work)
        self._check(wrapped)
        self._machine = Machine(wrapped, work, arguments.ready)
        self._work = work
        self.rows: list[Row] = []

    def measure_all(self) -> None:
        for name, way in self._arguments.rows:
            self._say(f"{name}/{way}")
            for row in self._measure(MODELS[name], way):
                self.rows.append(row)
                print("RESULT", json.dumps(row.encode()), flush=True)
                if row.figures is None:
                    print(row.reason, file=sys.stderr, flush=True)
            self._keep(f"{name}-{way}")

    def _measure(self, model: Model, way: str) -> Iterator[Row]:
        """The rows of a model and a way; one with a reason where it could not be measured."""
        kind, _, number = way.partition("-")
        spent, within = time.monotonic() - self._began, self._arguments.within
        reason = ""
        if within is not None and spent > within - 60:
            reason = f"left out: {spent:.0f} s of {within:.0f} were over"
        elif kind == "ours":
            reason = "" if number == "auto" else missing(int(number))
        elif number == "rust":
            reason = rust_front_missing(self._machine.python)
        if reason:
            yield Row(model.name, way, "", None, reason)
            return
        try:
            yield from self._figures(model, way, kind, number)
        except FigureError as error:
            yield Row(model.name, way, "", None, f"failed: {error}")

    def _figures(self, model: Model, way: str, kind: str, number: str) -> Iterator[Row]:
        folder, engine = self._folder(model)
        loads = [load for load in map(self._sized, model.loads) for _ in range(self._arguments.repeat)]
        if kind == "alone":
            for _ in range(
                self._arguments.repeat
            ):  # whether an answer is streamed, and how many wait, is of the server
                figures = self._machine.alone(folder, engine, loads[0], _LOAD_S)
                yield Row(model.name, way, f"{loads[0].at_once} at once", figures)
            return
        served = (
            self._machine.ours(folder, engine, "auto" if number == "auto" else int(number))
            if kind == "ours"
            else self._machine.vllm(folder, engine, 1 if number == "rust" else int(number), number == "rust")
        )
        with served as server:
            self._say(f"{model.name}/{way} is ready")
            for load in loads:
                yield self._load(model, way, server, load)

    def _load(self, model: Model, way: str, server: Served, load: Load) -> Row:
        try:
            figures = measure(server.port, load, server.processor, _LOAD_S)
        except FigureError as error:
            return Row(model.name, way, load.name, None, f"failed: {error}")
        return Row(model.name, way, load.name, figures)

    def _folder(self, model: Model) -> tuple[Path, dict[str, Any]]:
        given = self._arguments.folders.get(model.name)
        folder = Path(given).resolve() if given else write_model(model, self._work / "models")
        return folder, with_arguments(
            {**ENGINE, "load_format": self._arguments.load_format}, model.engine, self._arguments.engine
        )

    def _sized(self, load: Load) -> Load:
        count = self._arguments.requests
        return load if count is None else replace(load, requests=count, at_once=min(count, load.at_once))

    def _keep(self, name: str) -> None:
        log, folder = self._work / "log.txt", self._arguments.logs
        if folder is not None and log.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(log, folder / f"{name}.txt")
        if self._arguments.json is not None:
            encoded = {"machine": describe_machine(), "rows": [row.encode() for row in self.rows]}
            self._arguments.json.write_text(json.dumps(encoded, indent=1))

    def _say(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.0f} s  {text}", file=sys.stderr, flush=True)

    @staticmethod
    def _check(python: str) -> None:
        """Raises FigureError where the interpreter has no vLLM."""
        done = subprocess.run(
            [python, "-c", "from importlib.metadata import version; print('vllm', version('vllm'))"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise FigureError("--python: the interpreter has no vllm; name another, or a --site that has it")
        machine = describe_machine()
        print(f"{done.stdout.strip()}; {_gpu()}; {machine['processor']}, {machine['cores']} cores", flush=True)
        print(f"our server's code: {Path(qwen_triton.__file__).parents[1]}", flush=True)


def _gpu() -> str:
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return "no nvidia-smi"


def main() -> int:
    """Returns the exit code: 0; 1 when a row failed; 2 where nothing can be measured."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="qwen-triton-figures-") as work:
        try:
            run = _Run(arguments, Path(work))
        except FigureError as error:
            print(f"figures.sh: {error}", file=sys.stderr)
            return 2
        try:
            run.measure_all()
        finally:  # what was measured is printed also when the command is ended
            print(f"\n{table(run.rows)}\n\n{LEGEND}", *goals(run.rows), sep="\n", flush=True)
    return 1 if any(row.reason.startswith("failed") for row in run.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
