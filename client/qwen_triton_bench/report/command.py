"""`qwen-triton report A.json B.json … -o report.html`: results as one HTML page."""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from .page import render_page
from .results import BenchmarkResult, read_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, nargs="+", metavar="RESULT", help="files of `qwen-triton bench … --json`")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default %(default)s")


def run(arguments: argparse.Namespace) -> int:
    """Writes the page. Raises ConfigurationError. Returns exit code 0."""
    page = render_page(with_names([(read_result(f), f) for f in arguments.results]))
    try:
        arguments.output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{arguments.output}: cannot be written: {error.strerror}") from None
    print(f"{arguments.output}: {len(arguments.results)} runs, {len(page) >> 10} KiB; open it in any browser")
    return 0


def with_names(results: list[tuple[BenchmarkResult, Path]]) -> list[BenchmarkResult]:
    """The results, with the file added to names that occur more than once."""
    often = Counter(r.name for r, _ in results)
    return [replace(r, name=f"{r.name} ({file.stem})") if often[r.name] > 1 else r for r, file in results]
