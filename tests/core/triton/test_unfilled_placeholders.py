"""Unfilled placeholders of model_repository/ mean what stock's mean; the page «coming from stock» has a line for each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from qwen_triton.errors import ConfigurationError
from qwen_triton.model_config import Parameters
from qwen_triton.tensors.contract import BLS, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from qwen_triton.triton.settings import BlsSettings, EngineSettings, TextSettings
from qwen_triton_build.deployment.schema import load_deployment
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import MODELS, check_config, fill
from tests.support import stock_fill
from tests.support.folders import ROOT

REPOSITORY = ROOT / "model_repository"
PAGE = ROOT / "docs" / "coming-from-stock.md"
NEEDED = {
    "triton_max_batch_size": 4,
    "decoupled_mode": True,
    "max_queue_size": 0,
    "max_queue_delay_microseconds": 0,
    "preprocessing_instance_count": 1,
    "postprocessing_instance_count": 1,
    "bls_instance_count": 1,
}
"""Placeholders outside quotes, without which a file is no model configuration."""


def template(model: str) -> str:
    return (REPOSITORY / model / "config.pbtxt").read_text(encoding="utf-8")


def used(text: str) -> set[str]:
    return set(re.findall(r"\$\{(\w+)\}", text))


def parameters(repository: Path, model: str) -> Parameters:
    """A model's parameters as Triton passes them on, placeholders included."""
    text = (repository / model / "config.pbtxt").read_text(encoding="utf-8")
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    return Parameters(model, {key: value.string_value for key, value in config.parameters.items()})


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The template with what Triton needs, and a tokenizer's folder in preprocessing, as stock's commands give it."""
    folder = copytree(REPOSITORY, tmp_path / "repository")
    numbers = ",".join(f"{name}:{str(value).lower()}" for name, value in NEEDED.items())
    for model in MODELS:
        stock_fill.fill_template(folder / model / "config.pbtxt", numbers)
    stock_fill.fill_template(folder / PREPROCESSING / "config.pbtxt", "tokenizer_dir:/q")
    return folder


def settings(repository: Path) -> Mapping[str, Any]:
    """What the models make of their parameters."""
    bls, engine = parameters(repository, BLS), parameters(repository, TENSORRT_LLM)
    return {
        "text of the BLS": asdict(TextSettings.read(bls, repository)),
        "text of preprocessing": asdict(TextSettings.read(parameters(repository, PREPROCESSING), repository)),
        "text of postprocessing": asdict(TextSettings.read(parameters(repository, POSTPROCESSING), repository)),
        "BLS": asdict(BlsSettings.read(bls, repository)),
        "engine": asdict(EngineSettings.read(engine)),
    }


def test_the_page_has_every_placeholder_of_the_templates_once() -> None:
    """Also under stock's meaning, so that nobody adds one without saying what it means unfilled."""
    table = PAGE.read_text(encoding="utf-8").split("## Unfilled placeholders")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(set().union(*(used(template(model)) for model in MODELS)))


def test_unfilled_means_what_stock_means(repository: Path) -> None:
    """Answers begin with the prompt, chunks are new text without control tokens, prompts are taken as they are."""
    text = {
        "tokenizer_dir": Path("/q"), "prompt_format": "raw", "max_context": None, "skip_special_tokens": True,
        "tool_format": "auto",
    }  # fmt: skip
    unbounded = {"max_in_flight": 0, "queue_timeout_ms": 0}
    bls = {"engine_model": "tensorrt_llm", "engine_link": "grpc", "accumulate": False, "echo": True, **unbounded}
    bls["max_responses_per_s"] = 0
    assert settings(repository) == {
        "text of the BLS": text,
        "text of preprocessing": text,
        "text of postprocessing": text,
        "BLS": bls,
        "engine": {"echo": True, **unbounded},
    }


def test_the_bls_follows_the_models_whose_work_it_does(repository: Path) -> None:
    """Stock's commands fill these in those models alone."""
    stock_fill.fill_template(repository / TENSORRT_LLM / "config.pbtxt", "exclude_input_in_output:true")
    stock_fill.fill_template(repository / POSTPROCESSING / "config.pbtxt", "skip_special_tokens:false")
    stock_fill.fill_template(repository / PREPROCESSING / "config.pbtxt", "prompt_format:chat,max_context:99")
    found = settings(repository)
    assert found["BLS"]["echo"] is found["engine"]["echo"] is False
    assert found["text of the BLS"] == found["text of preprocessing"] | {"skip_special_tokens": False}
    assert (found["text of the BLS"]["prompt_format"], found["text of the BLS"]["max_context"]) == ("chat", 99)


@pytest.mark.parametrize("name", NEEDED)
def test_a_file_without_a_number_that_triton_needs_is_none(name: str) -> None:
    """Unfilled it does not parse, as in stock."""
    models = [model for model in MODELS if name in used(template(model))]
    assert models
    for model in models:
        others = {other: str(value).lower() for other, value in NEEDED.items() if other != name}
        text = template(model)
        for other, value in others.items():
            text = text.replace(f"${{{other}}}", value)
        with pytest.raises(ConfigurationError, match=f"{model}/config.pbtxt: not a model configuration"):
            check_config(text, model)


def test_a_deployment_fills_in_its_own_defaults(tmp_path: Path) -> None:
    """`serve` leaves the prompt out of answers, whatever the template means unfilled."""
    file = tmp_path / "deployment.yaml"
    file.write_text("model: /q\nengine: {kind: replay}\n")
    values = placeholders(load_deployment(file, environment={}), Path("/q"))
    for model in (BLS, TENSORRT_LLM):
        config = check_config(fill(template(model), values, model), model)
        assert config.parameters["exclude_input_in_output"].string_value == "true"
