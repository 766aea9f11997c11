"""The rules of the converter's table, implemented a second time from their words («when»), as an oracle for tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qwen_triton_build.deployment.build_section import Build
from qwen_triton_build.trtllm.plan.checkpoint_facts import CheckpointFacts


def broken_rules(build: Build, model: CheckpointFacts, *, variable: bool) -> set[str]:
    """Rules with outcome «bad» at 0.14.0 that hold. `variable`: TRTLLM_DISABLE_UNIFIED_CONVERTER is set."""
    tp, pp, dtype, flags = build.tp, build.pp, build.dtype, build.convert_flags
    heads, kv, hidden, inner = model.heads, model.kv_heads, model.hidden_size, model.intermediate_size
    smooth, gptq = build.quantization == "smoothquant", model.quantized_by == "gptq"
    weight_only = build.quantization in ("int8_weight_only", "int4_weight_only")
    calibrated = smooth or build.kv_cache == "int8"
    plain, dense, moe = model.quantized_by is None, model.model_type == "qwen2", model.model_type == "qwen2_moe"
    width = (heads + 2 * max(kv, tp)) * (hidden // heads)
    size = model.group_size or 0
    group = max(64, size) if gptq and model.bits == 4 and size > 0 else None
    shared = bool(flags.get("use_embedding_sharing"))
    held = {
        "tied-without-lm_head": model.tied and not model.has_lm_head and dense and not calibrated and not variable,
        "tp-over-kv-heads": kv < tp and plain and not calibrated,
        "tp-over-kv-heads-int8-kv": kv < tp and calibrated and not smooth,
        "tp-over-kv-heads-smoothquant": kv < tp and smooth,
        "tp-over-kv-heads-gptq": kv < tp and gptq,
        "smoothquant-gqa-tp": smooth and tp > 1 and tp <= kv < heads and not moe,
        "smoothquant-mha-tp": smooth and tp > 1 and kv == heads and inner != hidden and not moe,
        "smoothquant-moe": smooth and moe,
        "embedding-sharing": shared and not calibrated and not variable,
        "embedding-sharing-pp": shared and pp > 1,
        "embedding-sharing-tp": shared and tp > 1 and not flags.get("use_parallel_embedding"),
        "yarn": model.rope_scaling == "yarn",
        "intermediate-tp": dense and inner % tp > 0,
        "weight-only-qkv-padded": weight_only
        and not calibrated
        and not variable
        and plain
        and dense
        and width % (64 * tp) > 0,
        "weight-only-mlp-piece-empty": weight_only
        and not calibrated
        and not variable
        and dense
        and _no_piece(inner, tp),
        "weight-only-int8-kv-padded": weight_only
        and build.kv_cache == "int8"
        and dense
        and any(size % (64 * tp) for size in (width, hidden, inner)),
        "gptq-hidden": group is not None and tp <= kv and (hidden % (group * tp) > 0 or width % (group * tp) > 0),
        "gptq-intermediate": group is not None and 1 < tp <= kv and inner % (group * tp) > 0,
        "gptq-bfloat16-bias": gptq and dtype == "bfloat16" and not calibrated,
        "gptq-float32": gptq and dtype == "float32",
        "gptq-one-group": gptq and model.group_size == -1,
        "gptq-8-bit": gptq and model.bits == 8,
        "gptq-desc_act": gptq and model.desc_act,
        "layers-pp": model.layers % pp > 0,
        "vocabulary-tp-bfloat16": model.vocab_size % tp > 0 and dtype == "bfloat16" and (calibrated or variable),
        "slow-tokenizer-files": calibrated and not model.has_slow_tokenizer,
        "generation_config": calibrated and not model.has_generation_config,
        "moe-sizes": _ranks(flags, tp) != tp,
        "variable-weight-only-plugin": variable and weight_only and bool(flags.get("disable_weight_only_quant_plugin")),
    }
    return {name for name, holds in held.items() if holds}


def _no_piece(inner: int, tp: int) -> bool:
    """Whether the last rank gets nothing of a width that is rounded up to 64 x tp."""
    rounded = -(-inner // (64 * tp)) * 64 * tp
    return rounded // tp * (tp - 1) >= inner


def _ranks(flags: Mapping[str, Any], tp: int) -> int:
    given = flags.get("moe_tp_size"), flags.get("moe_ep_size")
    if given == (None, None):
        return tp
    return (given[0] or tp // given[1]) * (given[1] or tp // given[0])
