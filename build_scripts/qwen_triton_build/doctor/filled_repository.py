"""The deployment that a filled model repository stands for, for checking it without a deployment.yaml.

Only what the checks look at is read: tokenizer, engine, batch size and stream. Ports and the shim are not in a repository.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from qwen_triton.errors import ConfigurationError
from qwen_triton.model_config import sibling_backend, sibling_config, sibling_parameter
from qwen_triton.tensors.contract import BLS, PREPROCESSING, TENSORRT_LLM

from ..deployment.engine_sections import TensorRtLlmSection
from ..deployment.faults import explain
from ..deployment.schema import Deployment

_FLAGS = ("enable_kv_cache_reuse", "enable_chunked_context")
_OPTIONS = re.compile(r'key:\s*"engine_options"\s*,?\s*value:?\s*\{\s*string_value:\s*"((?:[^"\\]|\\.)*)"')


def deployment_of(repository: Path) -> Deployment:
    """Raises ConfigurationError, with the file and the remedy, for a repository that does not say what it serves."""
    data = {
        "model": _required(repository, PREPROCESSING, "tokenizer_dir", "the folder of the checkpoint's tokenizer"),
        "engine": _engine(repository),
        "repository": _settings(repository),
        "openai": {"enabled": False},
    }
    try:
        return Deployment.model_validate(data)
    except ValidationError as error:
        raise ConfigurationError(
            "\n".join(f"{repository}: {line}" for line in explain(error, Deployment, data))
        ) from None


def _required(repository: Path, model: str, key: str, what: str) -> str:
    value = sibling_parameter(repository, model, key)
    if value is None:
        raise ConfigurationError(f"{repository / model / 'config.pbtxt'}: {key} is not filled; give {what}")
    return value


def _engine(repository: Path) -> dict[str, Any]:
    backend = sibling_backend(repository, TENSORRT_LLM)
    if backend == "python":
        return _process_engine(repository)
    if backend == "tensorrtllm":
        engine_dir = _required(repository, TENSORRT_LLM, "gpt_model_path", "the folder that trtllm-build wrote")
        return {"kind": "tensorrtllm", "engine_dir": engine_dir, **_built_settings(repository)}
    raise ConfigurationError(
        f"{repository / TENSORRT_LLM / 'config.pbtxt'}: backend {backend!r} is none of tensorrtllm and python; "
        "fill triton_backend, or render the repository"
    )


def _built_settings(repository: Path) -> dict[str, Any]:
    """Settings of NVIDIA's engine that the checks compare with the engine; others are its backend's to refuse."""
    given = {key: sibling_parameter(repository, TENSORRT_LLM, key) for key in TensorRtLlmSection.model_fields}
    settings: dict[str, Any] = {key: value for key in ("gpu_device_ids",) if (value := given[key]) is not None}
    settings |= {key: str(value).lower() == "true" for key in _FLAGS if (value := given[key]) is not None}
    beams = given["max_beam_width"] or ""
    settings |= {"max_beam_width": int(beams)} if beams.isdigit() else {}
    batching = sibling_parameter(repository, TENSORRT_LLM, "gpt_model_type")
    return settings | ({} if batching is None else {"batching_strategy": batching})


def _process_engine(repository: Path) -> dict[str, Any]:
    found = _OPTIONS.search(sibling_config(repository, TENSORRT_LLM))
    file = repository / TENSORRT_LLM / "config.pbtxt"
    try:
        options = json.loads(json.loads(f'"{found[1]}"')) if found else {}
        kind = options.pop("engine")
    except (ValueError, KeyError, AttributeError):
        raise ConfigurationError(
            f"{file}: engine_options is not filled; `qwen-triton render` fills it for a python engine"
        ) from None
    options.pop("model", None)
    return {"kind": kind, **options}


def _settings(repository: Path) -> dict[str, Any]:
    """The keys of `repository:` that are filled; what is not stays at its default, and is for the other checks to find."""
    batch = re.search(r"^\s*max_batch_size:\s*(\d+)", sibling_config(repository, TENSORRT_LLM), re.MULTILINE)
    settings: dict[str, Any] = {"max_batch_size": int(batch[1])} if batch and int(batch[1]) else {}
    prompt_format = sibling_parameter(repository, PREPROCESSING, "prompt_format")
    settings |= {} if prompt_format is None else {"prompt_format": prompt_format}
    text = re.sub("#.*", "", sibling_config(repository, BLS))
    return settings | {"decoupled": bool(re.search(r"decoupled:\s*true", text, re.IGNORECASE))}
