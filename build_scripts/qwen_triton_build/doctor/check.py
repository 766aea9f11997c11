"""A check of the doctor and its findings.

A check is a function of the Site that returns a short text of what it found. It raises ConfigurationError for a fault
that prevents serving, CheckWarning for one that may. The message is «what was found; the remedy»; each line of it is a
finding of its own. Knows no particular check.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from qwen_triton.errors import ConfigurationError

from .site import Site

Outcome = Literal["ok", "skipped", "warning", "error"]


class CheckWarning(Exception):
    """A fault that may prevent serving or degrade it."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `message` is the complete error, as `serve` would print it."""

    check: str
    outcome: Outcome
    found: str
    expected: str
    remedy: str = ""
    message: str = ""


@dataclass(frozen=True)
class Check:
    """`needs`: the check whose error makes this one pointless. `thorough`: slow, so `serve` leaves it out."""

    name: str
    expected: str
    examine: Callable[[Site], str]
    needs: str = ""
    thorough: bool = False


def run_checks(checks: Sequence[Check], site: Site, thorough: bool = True) -> list[Finding]:
    """Runs the checks in order; returns the findings of each. `thorough` False leaves out the slow ones."""
    findings: list[Finding] = []
    failed: set[str] = set()
    for check in checks:
        if check.thorough and not thorough:
            continue
        if check.needs in failed:
            findings.append(Finding(check.name, "skipped", f"not checked: {check.needs} failed", check.expected))
            failed.add(check.name)
            continue
        found = _examine(check, site)
        findings += found
        if any(finding.outcome == "error" for finding in found):
            failed.add(check.name)
    return findings


def _examine(check: Check, site: Site) -> list[Finding]:
    try:
        found = check.examine(site)
    except ConfigurationError as error:
        return [_fault(check, "error", line) for line in str(error).splitlines()]
    except CheckWarning as doubt:
        return [_fault(check, "warning", line) for line in str(doubt).splitlines()]
    except OSError as error:
        return [
            _fault(
                check,
                "error",
                f"{error.filename or check.name}: {error.strerror or error}; make it readable for this user",
            )
        ]
    return [Finding(check.name, "ok", found, check.expected)]


def _fault(check: Check, outcome: Outcome, message: str) -> Finding:
    found, _, remedy = message.partition("; ")
    return Finding(check.name, outcome, found, check.expected, remedy, message)
