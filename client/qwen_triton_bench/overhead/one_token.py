"""Repository whose engine model answers one token a response, as NVIDIA's C++ backend does, without a GPU."""

from __future__ import annotations

import shutil
from pathlib import Path

from google.protobuf import text_format

from qwen_triton.tensors.contract import BLS, TENSORRT_LLM
from qwen_triton_build.deployment.checkpoint_names import resolve_model
from qwen_triton_build.deployment.schema import Deployment
from qwen_triton_build.repository.placeholders import placeholders
from qwen_triton_build.repository.render import check_config, render

_MODEL = Path(__file__).with_name("one_token_engine.py")


def one_token_repository(deployment: Deployment, folder: Path, step_ms: float) -> Path:
    """Renders the deployment's repository below `folder`, with the stand-in as its engine model. Returns its path."""
    repository = render(placeholders(deployment, resolve_model(deployment)), folder / "repository")
    put_one_token_engine(repository, step_ms=str(step_ms))
    set_parameters(repository / BLS, engine_door="grpc")
    return repository


def put_one_token_engine(repository: Path, **parameters: str) -> None:
    """Replaces the repository's engine model by the stand-in and sets its parameters."""
    model = repository / TENSORRT_LLM
    shutil.copy(_MODEL, model / "1" / "model.py")
    set_parameters(model, **parameters)


def set_parameters(model: Path, **parameters: str) -> None:
    """Sets parameters in the config.pbtxt of a model's folder."""
    file = model / "config.pbtxt"
    config = check_config(file.read_text(encoding="utf-8"), model.name)
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    file.write_text(text_format.MessageToString(config), encoding="utf-8")
