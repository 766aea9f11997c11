"""Checks trtllm-build's flags against each other, before a run would fail after minutes or change a value silently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qwen_triton.errors import ConfigurationError

from ...deployment.build_section import Build
from ..tools.flags import FlagValue, FlagValues
from ..tools.versions import Release, Version

_BEFORE_0_20 = Version(0, 20)


def check_constraints(build: Build, release: Release, flags: FlagValues) -> None:
    """`flags`: all of trtllm-build's but the folders. Raises ConfigurationError with one line for each fault."""
    faults = [*_together(build, flags), *_lengths(release, flags), *_attention(build, release, flags)]
    faults += [*_no_effect(build, release, flags)]
    if faults:
        raise ConfigurationError("\n".join(f"build.build_flags.{fault}" for fault in faults))


def _on(flags: Mapping[str, FlagValue], name: str) -> bool:
    return flags.get(name) in (True, "enable")


def _together(build: Build, flags: FlagValues) -> Iterator[str]:
    if flags.get("model_cls_file") and not flags.get("model_cls_name"):
        yield "model_cls_file: needs model_cls_name"
    context_logits = _on(flags, "gather_context_logits") or _on(flags, "gather_all_token_logits")
    if context_logits and int(str(flags.get("max_draft_len", 0))) > 0:
        yield "max_draft_len: speculative decoding cannot gather context logits"
    if _on(flags, "multiple_profiles") and flags.get("opt_num_tokens") is not None:
        yield "opt_num_tokens: cannot be given with multiple_profiles, which profile latency sets"
    cache_type, paged = flags.get("kv_cache_type"), flags.get("paged_kv_cache")
    if cache_type is not None and paged is not None and (cache_type == "paged") != (paged == "enable"):
        yield f"paged_kv_cache: {paged} contradicts kv_cache_type {cache_type}"
    if int(str(flags.get("auto_parallel", 1))) > 1 and build.world_size > 1:
        yield "auto_parallel: needs a checkpoint with tp 1 and pp 1"
    if _on(flags, "streamingllm"):
        yield "streamingllm: is refused for Qwen"
    if _on(flags, "pp_reduce_scatter"):
        yield "pp_reduce_scatter: is for Mixtral only"


def _lengths(release: Release, flags: FlagValues) -> Iterator[str]:
    """Lengths that trtllm-build would cut or raise silently."""
    longest, tokens = flags.get("max_seq_len", flags.get("max_decoder_seq_len")), flags.get("max_num_tokens")
    given = flags.get("max_input_len")
    if isinstance(longest, int) and isinstance(given, int) and given > longest:
        yield f"max_input_len: {given} would be cut to max_seq_len {longest}"
    batch = flags.get("max_batch_size", 2048)
    if isinstance(tokens, int):
        block = int(str(flags.get("tokens_per_block", release.tokens_per_block)))
        if tokens < block:
            yield f"max_num_tokens: {tokens} would be raised to tokens_per_block {block}"
        if isinstance(longest, int) and isinstance(batch, int) and tokens > longest * batch:
            yield f"max_num_tokens: {tokens} would be cut to max_seq_len × max_batch_size, {longest * batch}"


def _attention(build: Build, release: Release, flags: FlagValues) -> Iterator[str]:
    default = "enable" if release.paged_context_default else "disable"
    if flags.get("use_paged_context_fmha", default) != "enable":
        return
    if build.kv_cache == "int8":
        yield (
            "use_paged_context_fmha: does not go with an INT8 KV cache, and profile long-context needs it; "
            "give kv_cache fp8, or none"
        )
    if build.kv_cache == "fp8" and build.quantization != "fp8" and release.version < _BEFORE_0_20:
        yield (
            f"use_paged_context_fmha: TensorRT-LLM {release.version} refuses it for an FP8 KV cache with weights that are "
            "not FP8; give quantization fp8"
        )


def _no_effect(build: Build, release: Release, flags: FlagValues) -> Iterator[str]:
    """Flags that 0.14 accepts and then ignores for Qwen, or fails on."""
    if release.version >= _BEFORE_0_20:
        return
    if _on(flags, "fast_build") and build.quantization not in ("none", "fp8"):
        yield f"fast_build: TensorRT-LLM {release.version} refuses it for integer weights"
    if _on(flags, "reduce_fusion"):
        yield f"reduce_fusion: has no effect on Qwen at TensorRT-LLM {release.version}"
    if flags.get("use_fused_mlp") == "disable" and build.quantization in ("none", "fp8"):
        yield f"use_fused_mlp: disable has no effect at TensorRT-LLM {release.version}"
    if flags.get("gemm_swiglu_plugin") == "fp8" and build.quantization != "fp8":
        yield "gemm_swiglu_plugin: needs quantization fp8"
