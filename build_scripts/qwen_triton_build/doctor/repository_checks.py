"""Checks of the model repository: the one rendered from the deployment, or a folder that was filled another way."""

from __future__ import annotations

import re
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..repository.placeholders import placeholders
from ..repository.render import MODELS, check_config, configure, steps_of, template_repository
from .check import Check, CheckWarning
from .site import Site

_UNFILLED = re.compile(r"\$\{(\w+)\}")
_PARAMETER = re.compile(r'parameters\s*(?:\[|:)?\s*\{\s*key:\s*"(\w+)"')


def configs(site: Site) -> dict[str, str]:
    """{model: text of its config.pbtxt}. Raises ConfigurationError for one that is missing or cannot be filled."""
    if site.repository is None:
        values = placeholders(site.deployment, site.model_dir)
        return configure(values, steps_of(values), template_repository())
    missing = [model for model in MODELS if not (site.repository / model / "config.pbtxt").is_file()]
    if missing:
        raise ConfigurationError(
            f"{site.repository}/{missing[0]}/config.pbtxt: no such file; render the repository: qwen-triton render"
        )
    return {model: (site.repository / model / "config.pbtxt").read_text(encoding="utf-8") for model in MODELS}


def filled(site: Site) -> str:
    """Finds placeholders that stock's fill_template left: Triton fails on them («Expected integer, got: $»)
    or reads them as text.
    """
    texts = configs(site)
    left = [(model, name) for model, text in texts.items() for name in _UNFILLED.findall(_needed(text))]
    if left:
        faults = "\n".join(
            f"{model}/config.pbtxt: ${{{name}}} is not filled; give {name} a value" for model, name in left
        )
        raise ConfigurationError(faults)
    return f"{len(texts)} models"


def _needed(text: str) -> str:
    """The text without quoted values, where an unfilled placeholder means «not set», as in stock's models."""
    return re.sub(r'"[^"\n]*"', '""', re.sub(r"#.*", "", text))


def readable(site: Site) -> str:
    for model, text in configs(site).items():
        check_config(text, model)
    return "as Triton reads them"


def parameters(site: Site) -> str:
    """Finds misspelt parameters, which the models would ignore silently."""
    unknown = [
        f"{model}/config.pbtxt: parameter {key} has no meaning; remove it, or spell it as in the template"
        for model, text in configs(site).items()
        for key in _PARAMETER.findall(text)
        if key not in _known(model)
    ]
    if unknown:
        raise CheckWarning("\n".join(unknown))
    return "all known"


def _known(model: str) -> set[str]:
    return set(_PARAMETER.findall((template_repository() / model / "config.pbtxt").read_text(encoding="utf-8")))


def decoupled(site: Site) -> str:
    """Compares the transaction policies: a model that is not decoupled sends one response, so nothing streams."""
    texts = configs(site)
    streams = {model: bool(re.search(r"decoupled:\s*(true|True)", text)) for model, text in texts.items()}
    engine, bls = streams["tensorrt_llm"], streams["tensorrt_llm_bls"]
    if engine != bls:
        raise ConfigurationError(
            f"tensorrt_llm is {_word(engine)}, tensorrt_llm_bls {_word(bls)}; fill decoupled_mode alike for both"
        )
    if not engine:
        raise CheckWarning(
            "models are not decoupled: no streams; set repository.decoupled: true (decoupled_mode) to stream"
        )
    return "decoupled: streams"


def _word(decoupled: bool) -> str:
    return "decoupled" if decoupled else "not decoupled"


def code(site: Site) -> str:
    """Looks for the version folder of each model; those of NVIDIA's backend and of the ensemble are empty."""
    if site.repository is None:
        return "this version's"
    lacking = [m for m in MODELS if not (Path(site.repository) / m / "1").is_dir()]
    if lacking:
        raise ConfigurationError(
            f"{site.repository}/{lacking[0]}/1: no such folder; copy model_repository/{lacking[0]} as a whole"
        )
    return "a version of each"


CHECKS = (
    Check("repository filled", "no placeholder left where Triton needs a value", filled),
    Check("repository readable", "five model configurations", readable, needs="repository filled"),
    Check("parameters known", "every parameter has a meaning", parameters, needs="repository filled"),
    Check("streaming", "engine and BLS decoupled", decoupled, needs="repository filled"),
    Check("model code", "a version folder for each model", code),
)
