"""Placeholder values for NVIDIA's backend, from the engine's config.json and the deployment, and their contradictions.

Batch, beam width and context are the engine's unless the deployment sets them; it may not exceed what was built.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from qwen_triton.errors import ConfigurationError

from ..deployment.engine_sections import TensorRtLlmSection
from ..deployment.schema import Repository
from ..trtllm.built_engine import BuiltEngine
from ..trtllm.tools.versions import Version, served_version

Values = dict[str, str | int | float | bool | None]
_DATA_TYPE = {"float32": "TYPE_FP32", "float16": "TYPE_FP16"}


def engine_placeholders(settings: TensorRtLlmSection, repository: Repository, model_dir: Path) -> Values:
    """The values for NVIDIA's C++ backend. Raises ConfigurationError with one line for each contradiction."""
    engine = BuiltEngine.read(settings.engine_dir)
    version = served_version(engine.version)
    faults = [
        *size_faults(settings, repository, engine),
        *feature_faults(settings, engine),
        *vocabulary_faults(engine, model_dir),
        *release_faults(settings, version),
    ]
    if faults:
        raise ConfigurationError("\n".join(faults))
    given = {key: _spelt(value) for key, value in settings.model_dump(exclude={"kind", "engine_dir"}).items()}
    return {
        "triton_backend": "tensorrtllm",
        "engine_dir": str(settings.engine_dir),
        **given,
        "max_beam_width": settings.max_beam_width or engine.max_beam_width,
        "max_context": repository.max_context or engine.max_seq_len,
        "triton_max_batch_size": _batch(repository) or engine.max_batch_size,
        **_types(engine, version),
    }


def _spelt(value: Any) -> str | int | float | bool | None:
    """A value as the backend reads it: a tree of choices as in TensorRT-LLM's documents, `{0, 0}, {0, 1}`."""
    if isinstance(value, list):
        return ", ".join("{" + ", ".join(map(str, path)) + "}" for path in value)
    return str(value) if isinstance(value, Path) else value


_SINCE = {
    key: Version(0, 19)
    for key in (
        "lora_prefetch_dir", "lookahead_window_size", "lookahead_ngram_size",
        "lookahead_verification_set_size", "eagle_choices", "cuda_graph_mode", "cuda_graph_cache_size",
        "speculative_decoding_fast_logits", "guided_decoding_backend", "xgrammar_tokenizer_info_path",
    )
}  # fmt: skip
"""Keys whose parameters only later releases of the backend have."""


def release_faults(settings: TensorRtLlmSection, version: Version) -> list[str]:
    """Keys that the engine's release of the backend does not know; it would ignore them silently."""
    modes = {"eagle": "eagle_choices", "lookahead": "lookahead_window_size"}
    late = [key for key, since in _SINCE.items() if getattr(settings, key) is not None and version < since]
    faults = [
        f"engine.{key}: is new in TensorRT-LLM {_SINCE[key]}, the engine is of {version}; leave it out" for key in late
    ]
    if (key := modes.get(settings.decoding_mode or "")) and version < _SINCE[key]:
        faults.append(
            f"engine.decoding_mode: {settings.decoding_mode} is new in TensorRT-LLM {_SINCE[key]}, the engine is of {version}"
        )
    return faults


def _types(engine: BuiltEngine, version: Version) -> Values:
    """Data types that the overlays of later versions have as placeholders."""
    types: Values = {}
    if version >= Version(0, 19):
        types |= {"logits_datatype": _DATA_TYPE[engine.logits_dtype], "encoder_input_features_data_type": "TYPE_FP16"}
    if version >= Version(1, 0):
        types["prompt_embedding_table_data_type"] = "TYPE_FP16"  # the ensemble has no other, whatever the engine's
    return types


def _batch(repository: Repository) -> int | None:
    return repository.max_batch_size if "max_batch_size" in repository.model_fields_set else None


def size_faults(settings: TensorRtLlmSection, repository: Repository, engine: BuiltEngine) -> list[str]:
    requested = (
        ("repository.max_batch_size", _batch(repository), engine.max_batch_size, "max_batch_size"),
        ("engine.max_beam_width", settings.max_beam_width, engine.max_beam_width, "max_beam_width"),
        ("repository.max_context", repository.max_context, engine.max_seq_len, "max_seq_len"),
    )
    return [
        f"{key}: {given}, and the engine in {engine.folder} was built for {built}; "
        f"lower it or leave it out, or build again with {flag} {given}"
        for key, given, built, flag in requested
        if given is not None and given > built
    ]


def feature_faults(settings: TensorRtLlmSection, engine: BuiltEngine) -> list[str]:
    faults = []
    for key in ("enable_kv_cache_reuse", "enable_chunked_context"):
        if getattr(settings, key) and not engine.paged_context:
            faults.append(
                f"engine.{key}: needs an engine built with use_paged_context_fmha, which this one is not; "
                "leave it out, or build with profile long-context"
            )
    if settings.batching_strategy.startswith("inflight") and not _in_flight(engine):
        faults.append(
            "engine.batching_strategy: in-flight batching needs an engine with gpt_attention_plugin, "
            "remove_input_padding and a paged KV cache; build it again, or give V1"
        )
    devices = settings.gpu_device_ids
    if devices and any(len(group.split(",")) != engine.world_size for group in devices.split(";")):
        faults.append(
            f"engine.gpu_device_ids: {devices!r}, and the engine has {engine.world_size} ranks; one GPU for each"
        )
    return faults


def _in_flight(engine: BuiltEngine) -> bool:
    paged = engine.paged_kv_cache and engine.kv_cache_type in ("PAGED", None)
    return engine.attention_plugin and engine.remove_input_padding and paged


def vocabulary_faults(engine: BuiltEngine, model_dir: Path) -> list[str]:
    """Compares the vocabularies of checkpoint and engine: with different ones, ids would stand for other text."""
    file = model_dir / "config.json"
    vocab_size = json.loads(file.read_text(encoding="utf-8")).get("vocab_size") if file.is_file() else None
    if vocab_size in (None, engine.vocab_size):
        return []
    return [
        f"model: {model_dir} has a vocabulary of {vocab_size}, and the engine of {engine.vocab_size}; "
        "give the checkpoint that the engine was built from"
    ]
