"""Chooses the tool and flags that make a quantised checkpoint, and refuses combinations that do not work.

convert_checkpoint.py knows plain, weight-only, GPTQ and SmoothQuant weights and an INT8 KV cache; quantize.py (with
nvidia-modelopt) the calibrated formats FP8 and AWQ, and an FP8 KV cache for any weights.
"""

from __future__ import annotations

from dataclasses import dataclass

from qwen_triton.errors import ConfigurationError

from ...deployment.build_section import Build
from ..tools.flags import FlagValues, Tool
from ..tools.versions import Release
from .checkpoint_facts import CheckpointFacts

_QFORMAT = {"none": "full_prec", "int8_weight_only": "int8_wo", "int4_weight_only": "int4_wo"} | {
    "int4_awq": "int4_awq",
    "fp8": "fp8",
}
BITS = {"int8_weight_only": 8, "int4_weight_only": 4, "int4_gptq": 4, "int4_awq": 4, "fp8": 8, "smoothquant": 8}
"""Bits of a weight in the linear layers; plain weights have the type's."""


@dataclass(frozen=True)
class Conversion:
    """The first step's tool and what quantisation adds to its line. `calibrated`: it needs a GPU and a data set."""

    tool: Tool
    flags: FlagValues
    calibrated: bool


def conversion_of(build: Build, release: Release, model: CheckpointFacts | None) -> Conversion:
    """Raises ConfigurationError for what the release cannot do; `model` None = not known, not compared."""
    _check_release(build, release)
    if model is not None:
        _check_model(build, release, model)
    if build.quantization == "int4_awq" and model is not None and model.quantized_by == "awq":
        return Conversion("convert_checkpoint", {}, calibrated=False)
    if build.kv_cache == "fp8" or build.quantization in ("int4_awq", "fp8"):
        kv_cache: FlagValues = {} if build.kv_cache == "model" else {"kv_cache_dtype": build.kv_cache}
        return Conversion("quantize", {"qformat": _QFORMAT[build.quantization], **kv_cache}, calibrated=True)
    int8_kv: FlagValues = {"int8_kv_cache": True} if build.kv_cache == "int8" else {}
    calibrated = bool(int8_kv) or build.quantization == "smoothquant"
    return Conversion("convert_checkpoint", {**_converted(build, model), **int8_kv}, calibrated)


def _converted(build: Build, model: CheckpointFacts | None) -> FlagValues:
    if build.quantization == "smoothquant":
        return {"smoothquant": build.smoothquant_alpha, "per_token": True, "per_channel": True}
    if build.quantization == "none":
        return {}
    # int4_gptq without use_weight_only is labelled GPTQ and filled with plain weights at 0.14: always both
    flags: FlagValues = {
        "use_weight_only": True,
        "weight_only_precision": build.quantization.removesuffix("_weight_only"),
    }
    if build.quantization == "int4_gptq" and model is not None and model.group_size not in (None, 128):
        flags["group_size"] = int(model.group_size or 128)
    return flags


def _check_release(build: Build, release: Release) -> None:
    if build.dtype == "auto" and not release.auto_dtype:
        raise ConfigurationError(
            f"build.dtype: auto is new in TensorRT-LLM 0.15, {release.version} refuses it; give float16 or bfloat16"
        )
    refused = {
        ("int4_gptq", "int8"): "calibration would replace the GPTQ weights by plain ones",
        ("int4_gptq", "fp8"): "no tool makes it: quantize.py does not read GPTQ weights",
        ("smoothquant", "fp8"): "SmoothQuant is calibrated by convert_checkpoint.py, which knows INT8 only",
        ("fp8", "int8"): "FP8 attention needs an FP8 cache",
    }
    reason = refused.get((build.quantization, build.kv_cache))
    if reason:
        raise ConfigurationError(f"build.kv_cache: {build.kv_cache} with {build.quantization} is refused: {reason}")


def _check_model(build: Build, release: Release, model: CheckpointFacts) -> None:
    if model.model_type not in release.model_types:
        raise ConfigurationError(
            f"model: model_type {model.model_type!r} is not known to TensorRT-LLM {release.version}, which has "
            + ", ".join(release.model_types)
        )
    expected = {"int4_gptq": "gptq", "int4_awq": model.quantized_by and "awq"}.get(build.quantization)
    if model.quantized_by != expected:
        raise ConfigurationError(_mismatch(build, model))
    if model.quantized_by == "awq":
        _check_awq(build, release)
    if model.quantized_by is not None and model.bits != 4:
        raise ConfigurationError(f"model: its weights have {model.bits} bits; only 4-bit GPTQ and AWQ can be converted")
    if model.desc_act:
        raise ConfigurationError("model: its GPTQ weights have desc_act, which TensorRT-LLM ignores; use one without")


def _check_awq(build: Build, release: Release) -> None:
    if not release.reads_quantized_checkpoints:
        raise ConfigurationError(
            f"model: TensorRT-LLM {release.version} cannot read an AWQ checkpoint; give the plain one, to be quantised here"
        )
    if build.kv_cache != "model":
        raise ConfigurationError(
            f"build.kv_cache: {build.kv_cache} needs calibration, and an AWQ checkpoint cannot be calibrated; "
            "give the plain one"
        )


def _mismatch(build: Build, model: CheckpointFacts) -> str:
    if model.quantized_by is None:
        return "build.quantization: int4_gptq needs a GPTQ checkpoint, and this one has plain weights"
    if model.quantized_by in ("gptq", "awq"):
        return (
            f"build.quantization: {build.quantization}, but the checkpoint's weights are {model.quantized_by.upper()}, "
            f"which would win silently or be misread; give int4_{model.quantized_by}"
        )
    return f"model: its weights are quantised by {model.quantized_by!r}; give the plain checkpoint"
