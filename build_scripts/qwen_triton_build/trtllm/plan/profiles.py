"""Profiles of a build: named sets of trtllm-build flags, which raw flags of a deployment override."""

from __future__ import annotations

from ...deployment.build_section import Build
from ..tools.flags import FlagValues
from ..tools.versions import Release
from .checkpoint_facts import CheckpointFacts

_UNKNOWN_LENGTH = 32_768


def profile_flags(build: Build, release: Release, model: CheckpointFacts | None) -> FlagValues:
    """The flags of the build's profile, then its own, in the order of the command line.

    default: GEMM plugin only, TensorRT-LLM's defaults otherwise. throughput: all that in-flight batching uses spelled out,
    256 requests at once. latency: few requests, kernels chosen for each size. long-context: the model's whole length,
    paged context attention, which chunked context and KV reuse need.
    """
    flags = _profile(build, model)
    if build.kv_cache == "int8" and release.paged_context_default and "use_paged_context_fmha" not in flags:
        flags["use_paged_context_fmha"] = "disable"  # on by default, and not made for an INT8 cache
    return {**flags, **build.build_flags}


def _profile(build: Build, model: CheckpointFacts | None) -> FlagValues:
    if build.profile == "throughput":
        return _packed(build, 256)
    if build.profile == "latency":
        return {**_packed(build, 8), "multiple_profiles": "enable"}
    if build.profile == "long-context":
        return {**_packed(build, 16), **_long(model)}
    return {"gemm_plugin": _gemm(build)}


def _gemm(build: Build) -> str:
    """The plugin is for 16-bit weights; FP8 has better kernels without it, but for small batches."""
    if build.quantization != "fp8":
        return build.dtype
    return "fp8" if build.profile == "latency" else "disable"


def _packed(build: Build, batch: int) -> FlagValues:
    return {
        "remove_input_padding": "enable",
        "gpt_attention_plugin": build.dtype,
        "context_fmha": "enable",
        "gemm_plugin": _gemm(build),
        "kv_cache_type": "paged",
        "max_batch_size": batch,
    }


def _long(model: CheckpointFacts | None) -> FlagValues:
    length = _UNKNOWN_LENGTH if model is None else model.max_positions
    return {"max_input_len": length, "max_seq_len": length, "use_paged_context_fmha": "enable"}
