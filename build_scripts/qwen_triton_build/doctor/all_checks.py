"""Selects the checks of a deployment, in order: machine, model, engine, repository."""

from __future__ import annotations

from . import engine_checks, machine_checks, model_checks, repository_checks
from .check import Check
from .gpu import llmapi_checks, vllm_checks
from .site import Site

_OF_ENGINES = {checks.KIND: checks.CHECKS for checks in (llmapi_checks, vllm_checks)}


def checks_for(site: Site) -> tuple[Check, ...]:
    """The checks that apply to the Site's deployment.

    Those of an engine only where it is that engine, those of ports and shim only where they are known.
    """
    built = engine_checks.CHECKS if site.is_built else ()
    own = _OF_ENGINES.get(site.deployment.engine.kind, ())
    machine = [check for check in machine_checks.CHECKS if site.serves or check not in machine_checks.OF_SERVING]
    return (*machine, *model_checks.CHECKS, *built, *own, *repository_checks.CHECKS)
