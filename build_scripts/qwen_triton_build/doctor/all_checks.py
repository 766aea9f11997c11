"""All checks in the order in which a person would look: machine, model, engine, repository."""

from __future__ import annotations

from . import engine_checks, machine_checks, model_checks, repository_checks
from .check import Check
from .site import Site


def checks_for(site: Site) -> tuple[Check, ...]:
    """Those that concern this deployment."""
    built = engine_checks.CHECKS if site.is_built else ()
    return (*machine_checks.CHECKS, *model_checks.CHECKS, *built, *repository_checks.CHECKS)
