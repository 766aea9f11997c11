"""Formats the doctor's findings as text and as JSON, and turns them into an exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from .check import Finding

_NAME = 20


def worst(findings: Sequence[Finding]) -> int:
    """The exit code: 0 all well, 1 a warning, 2 an error."""
    outcomes = {finding.outcome for finding in findings}
    return 2 if "error" in outcomes else 1 if "warning" in outcomes else 0


def as_text(findings: Sequence[Finding]) -> str:
    """One line for each finding; below a warning or an error, what was expected and the remedy."""
    lines: list[str] = []
    for finding in findings:
        lines.append(f"{finding.outcome:<8} {finding.check:<{_NAME}} {finding.found}")
        if finding.outcome in ("warning", "error"):
            lines.append(f"{'':<8} {'':<{_NAME}} expected: {finding.expected}")
            lines.append(f"{'':<8} {'':<{_NAME}} remedy:   {finding.remedy or 'see what was found'}")
    return "\n".join([*lines, "", _summary(findings)])


def _summary(findings: Sequence[Finding]) -> str:
    counts = {name: sum(f.outcome == name for f in findings) for name in ("ok", "warning", "error", "skipped")}
    return f"{counts['ok']} ok, {counts['warning']} warnings, {counts['error']} errors, {counts['skipped']} skipped"


def as_json(findings: Sequence[Finding]) -> str:
    """A list of objects with check, outcome, found, expected, remedy."""
    return json.dumps(
        [{k: v for k, v in asdict(finding).items() if k != "message"} for finding in findings],
        ensure_ascii=False,
        indent=1,
    )
