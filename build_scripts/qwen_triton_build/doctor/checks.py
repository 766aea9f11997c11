"""All checks in the order in which a person would look: machine, model, engine, repository."""

from __future__ import annotations

from . import engine, machine, model, repository
from .check import Check
from .site import Site


def checks_for(site: Site) -> tuple[Check, ...]:
    """Those that concern this deployment."""
    built = engine.CHECKS if site.is_built else ()
    return (*machine.CHECKS, *model.CHECKS, *built, *repository.CHECKS)
