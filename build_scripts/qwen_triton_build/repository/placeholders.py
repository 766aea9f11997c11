"""Values of a deployment for the placeholders of the repository's config.pbtxt files; None = stays «not set»."""

from __future__ import annotations

import json
from pathlib import Path

from ..deployment.engine_sections import TensorRtLlmSection
from ..deployment.schema import Deployment
from .trtllm_placeholders import Values, engine_placeholders

__all__ = ["Values", "placeholders"]


def placeholders(deployment: Deployment, model_dir: Path) -> Values:
    """{placeholder: value} for all models; `model_dir` is the checkpoint's folder."""
    engine = deployment.engine
    shared = _shared(deployment, model_dir)
    if isinstance(engine, TensorRtLlmSection):
        return {**shared, **engine_placeholders(engine, deployment.repository, model_dir)}
    return {**shared, "triton_backend": "python", "engine_options": json.dumps(engine.engine_options(model_dir))}


def _shared(deployment: Deployment, model_dir: Path) -> Values:
    repository = deployment.repository
    return {
        "triton_max_batch_size": repository.max_batch_size,
        "decoupled_mode": repository.decoupled,
        "tokenizer_dir": str(model_dir),
        "prompt_format": repository.prompt_format,
        "tool_format": deployment.openai.tool_format,
        "max_context": repository.max_context,
        "skip_special_tokens": repository.skip_special_tokens,
        "accumulate_tokens": repository.accumulate_tokens,
        "exclude_input_in_output": repository.exclude_input_in_output,
        "engine_door": repository.engine_door,
        "max_in_flight": repository.max_in_flight,
        "queue_timeout_ms": repository.queue_timeout_ms,
        "max_responses_per_s": repository.max_responses_per_s,
        "limits": _limits(deployment),
        "max_queue_size": repository.max_queue_size,
        "max_queue_delay_microseconds": repository.max_queue_delay_microseconds,
        "preprocessing_instance_count": repository.preprocessing_instances,
        "postprocessing_instance_count": repository.postprocessing_instances,
        "bls_instance_count": deployment.bls_instances(),
    }


def _limits(deployment: Deployment) -> str | None:
    """The limits that the deployment sets, as a JSON object; None where it sets none, and the defaults hold."""
    given = deployment.limits.model_dump(exclude_unset=True)
    return json.dumps(given) if given else None
