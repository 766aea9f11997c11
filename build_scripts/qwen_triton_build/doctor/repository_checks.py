"""Checks of the model repository: the deployment's own rendering, or a folder that somebody filled another way."""

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
    """{model: its config.pbtxt}. Raises ConfigurationError for what cannot be filled or is not there."""
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
    """Stock's fill_template leaves what nobody named; Triton then says «Expected integer, got: $», or takes it for text."""
    texts = configs(site)
    left = [(model, name) for model, text in texts.items() for name in _UNFILLED.findall(_needed(text))]
    if left:
        faults = "\n".join(
            f"{model}/config.pbtxt: ${{{name}}} is not filled; give {name} a value" for model, name in left
        )
        raise ConfigurationError(faults)
    return f"{len(texts)} models"


def _needed(text: str) -> str:
    """The parts outside quotes: inside them an unfilled placeholder means «not set», as stock's models take it."""
    return re.sub(r'"[^"\n]*"', '""', re.sub(r"#.*", "", text))


def readable(site: Site) -> str:
    for model, text in configs(site).items():
        check_config(text, model)
    return "as Triton reads them"


def parameters(site: Site) -> str:
    """A misspelt parameter is ignored without a word; only ours and stock's have a meaning."""
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
    """Models that are not decoupled answer once: generate_stream and gRPC streams get no stream from them."""
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
    """Each model's code beside its config; of NVIDIA's backend and the ensemble there is none."""
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
