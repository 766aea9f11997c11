"""Constraints of TensorRT-LLM's tools that concern Qwen, implemented a second time from their text, as an oracle for tests."""

from __future__ import annotations

from argparse import Namespace

from tests.support.contract_parser import facts_of


def violations(line: str, built: Namespace, algorithm: str | None, kv: str | None) -> list[str]:
    """Constraints of trtllm-build that a line breaks, for a checkpoint of these quantisation algorithms."""
    given, old = vars(built), line == "0.14.0"
    integers = algorithm in ("W8A16", "W4A16", "W4A16_GPTQ", "W4A16_AWQ")
    found = {
        "paged_fmha_int8_kv": built.use_paged_context_fmha == "enable" and kv == "INT8",
        "paged_fmha_fp8_kv": old and built.use_paged_context_fmha == "enable" and kv == "FP8" and algorithm != "FP8",
        "profiles_vs_opt_tokens": built.multiple_profiles == "enable" and built.opt_num_tokens is not None,
        "context_logits_with_draft": built.max_draft_len > 0 and built.gather_context_logits,
        "max_input_len_clip": built.max_seq_len is not None and built.max_input_len > built.max_seq_len,
        "max_num_tokens_clip": built.max_seq_len is not None
        and built.max_num_tokens > built.max_seq_len * built.max_batch_size,
        "max_num_tokens_min": built.max_num_tokens < built.tokens_per_block,
        "fast_build_int": old and built.fast_build and integers,
        "streamingllm_arch": built.streamingllm == "enable",
        "gemm_swiglu": built.gemm_swiglu_plugin == "fp8" and algorithm != "FP8",
        "auto_parallel": given.get("auto_parallel", 1) > 1,
        "kv_cache_type_vs_paged": built.paged_kv_cache is not None,
    }
    return [name for name, holds in found.items() if holds]


def conversion_faults(convert: Namespace) -> list[str]:
    """Constraints of convert_checkpoint.py that a line breaks; quantize.py has none that a line could break."""
    values = vars(convert)
    if "qformat" in values:
        return []
    found = {
        "weight_only_needs_flag": convert.weight_only_precision != "int8" and not convert.use_weight_only,
        "weight_only_plus_smoothquant_error": bool(convert.smoothquant) and convert.use_weight_only,
        "smoothquant_zero": convert.smoothquant == 0,
    }
    return [name for name, holds in found.items() if holds]


def algorithm_of(line: str, convert: Namespace) -> tuple[str | None, str | None]:
    """The quantisation algorithm and the KV cache's, as the contract says that the tool sets them."""
    values = vars(convert)
    if "qformat" in values:
        rules = {c["id"]: c["rule"] for c in facts_of("quantize", line)["constraints"]}
        return rules["qformat_to_algo"][convert.qformat], (convert.kv_cache_dtype or "").upper() or None
    rules = {c["id"]: c["rule"] for c in facts_of("convert_checkpoint", line)["constraints"]}["quant_algo_map"]
    kv = "INT8" if convert.int8_kv_cache else None
    if convert.smoothquant:
        parts = ["smoothquant", *(p for p in ("per_channel", "per_token") if values[p])]
        return rules["+".join(parts)], kv
    precision = convert.weight_only_precision
    chosen = convert.use_weight_only or precision == "int4_gptq"
    return (rules[precision].split(" ")[0] if chosen else None), kv
