"""Prints what faults cost, as the live tests measure it: python -m tests.tools.measure_faults [PYTEST ARGUMENTS]

Runs tests/live/faults/test_processes.py and prints a row for each test with what it recorded (`record_property`): how many of
24 callers lost their answer, the last error and the first answers after the fault, and until when each readiness still said
ready. The figures of the table in docs/operating.md are from here. The exit code is pytest's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

TESTS = "tests/live/faults/test_processes.py"


def rows(report: Path) -> Iterator[dict[str, str]]:
    """The properties of each test of a JUnit report, with its name as `test`."""
    for case in ElementTree.parse(report).iter("testcase"):
        properties = {p.get("name", ""): p.get("value", "") for p in case.iter("property")}
        if properties:
            yield {"test": case.get("name", "").removeprefix("test_")} | properties


def table(found: Sequence[dict[str, str]]) -> str:
    """A Markdown table with every property as a column; one that a test does not have is empty."""
    columns = list(dict.fromkeys(name for row in found for name in row))
    lines = [columns, ["---"] * len(columns), *([row.get(c, "") for c in columns] for row in found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    """The command line."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        code = pytest.main(["-q", TESTS, f"--junitxml={report}", "-o", "junit_family=xunit1", *sys.argv[1:]])
        if report.is_file():
            print(table(list(rows(report))))
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
