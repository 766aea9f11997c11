"""A check and what it finds.

A check is a function of the site that returns what it found. It raises ConfigurationError for what will fail, CheckWarning for
what may; the message is «what was found; the remedy», and one that has several lines is several findings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from qwen_triton.errors import ConfigurationError

from .site import Site

Outcome = Literal["ok", "skipped", "warning", "error"]


class CheckWarning(Exception):
    """What may fail, or will serve badly: a warning."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report. `message` is the whole of an error, as the command that meets it would say it."""

    check: str
    outcome: Outcome
    found: str
    expected: str
    remedy: str = ""
    message: str = ""


@dataclass(frozen=True)
class Check:
    """`needs`: the check whose error makes this one pointless. `thorough`: takes long; left out before a start."""

    name: str
    expected: str
    examine: Callable[[Site], str]
    needs: str = ""
    thorough: bool = False


def run_checks(checks: Sequence[Check], site: Site, thorough: bool = True) -> list[Finding]:
    """Every check's findings, in order."""
    findings: list[Finding] = []
    failed: set[str] = set()
    for check in checks:
        if check.thorough and not thorough:
            continue
        if check.needs in failed:
            findings.append(Finding(check.name, "skipped", f"not looked at: {check.needs} failed", check.expected))
            failed.add(check.name)
            continue
        own = _examine(check, site)
        findings += own
        if any(finding.outcome == "error" for finding in own):
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
