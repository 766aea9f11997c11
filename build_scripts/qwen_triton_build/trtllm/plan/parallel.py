"""Checks that a model can be divided over GPUs: tensor parallel × pipeline parallel."""

from __future__ import annotations

from collections.abc import Iterator

from qwen_triton.errors import ConfigurationError

from ...deployment.build_section import Build
from .checkpoint_facts import CheckpointFacts

GROUP = 128
"""Weights that share a scale in GPTQ and AWQ, unless the checkpoint says otherwise."""


def check_parallel(build: Build, model: CheckpointFacts) -> None:
    """Raises ConfigurationError with one line for each size that does not divide."""
    faults = list(_faults(build, model))
    if faults:
        raise ConfigurationError("\n".join(faults))


def _faults(build: Build, model: CheckpointFacts) -> Iterator[str]:
    if model.layers % build.pp:
        yield (
            f"build.pp: {model.layers} layers do not divide by {build.pp}, and TensorRT-LLM drops what is left over "
            f"without a word; give one of {_divisors(model.layers)}"
        )
    if model.heads % build.tp:
        yield (
            f"build.tp: {model.heads} attention heads do not divide by {build.tp}; give one of {_divisors(model.heads)}"
        )
    elif model.kv_heads % build.tp and build.tp % model.kv_heads:
        yield f"build.tp: {model.kv_heads} KV heads cannot be divided or repeated over {build.tp} GPUs"
    group = model.group_size or GROUP
    if build.quantization in ("int4_gptq", "int4_awq") and model.intermediate_size % (group * build.tp):
        yield (
            f"build.tp: the intermediate size {model.intermediate_size} is no multiple of {group} × {build.tp}, "
            "the weights that share a scale × tp; give a smaller tp, or other quantization"
        )


def _divisors(number: int) -> str:
    return ", ".join(str(n) for n in range(1, min(number, 16) + 1) if number % n == 0)
