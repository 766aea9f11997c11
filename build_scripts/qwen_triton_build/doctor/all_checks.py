"""Selects the checks of a deployment, in order: machine, model, engine, repository."""

from __future__ import annotations

from . import engine_checks, machine_checks, model_checks, repository_checks
from .check import Check
from .site import Site


def checks_for(site: Site) -> tuple[Check, ...]:
    """The checks that apply to the Site's deployment; those of an engine folder only where there is one."""
    built = engine_checks.CHECKS if site.is_built else ()
    return (*machine_checks.CHECKS, *model_checks.CHECKS, *built, *repository_checks.CHECKS)
