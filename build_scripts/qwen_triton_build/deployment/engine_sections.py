"""The section `engine:` of a deployment, one model for each `kind`.

The keys of an engine that runs in its own process are made from its options class (`qwen_triton.engines.kinds`): types,
bounds, defaults and descriptions are those of the engine. NVIDIA's C++ backend has its parameters here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import Field, create_model, model_validator

from qwen_triton.engines.kinds import ENGINES
from qwen_triton.engines.option import REQUIRED, Option, OptionError, alternatives, options_of, read_options

from .section import FilePath, Fraction, NotNegative, Positive, Section, fault_at


class ProcessEngineSection(Section):
    """An engine that runs in its own process; a subclass has a field for each of its options."""

    options_class: ClassVar[type]
    kind: str

    def engine_options(self, model_dir: Path) -> dict[str, Any]:
        """The JSON object that the engine's process takes: its kind as `engine`, and the options that are set."""
        given = {
            name: value for name, value in self.model_dump(mode="json", exclude={"kind"}).items() if value is not None
        }
        folder = {"model": str(model_dir)} if "model" in options_of(self.options_class) else {}
        return {"engine": self.kind, **folder, **given}

    @model_validator(mode="after")
    def _check_together(self) -> ProcessEngineSection:
        """Options that do not go together are refused as the engine would refuse them, with the path of the key."""
        options = self.engine_options(Path("unknown yet"))
        del options["engine"]
        try:
            read_options(self.options_class, options)
        except OptionError as error:
            raise fault_at((error.name,), error.reason, error.value) from None
        return self


def engine_section(kind: str, options: type) -> type[ProcessEngineSection]:
    """The section of one kind of engine: a strict, frozen model with a key for each option of a deployment."""
    keys: dict[str, Any] = {
        name: _field(option) for name, option in options_of(options).items() if option.in_deployment
    }
    name = options.__name__.removesuffix("Options") + "Section"
    keys["kind"] = (Literal[kind], ...)
    section = create_model(name, __base__=ProcessEngineSection, __doc__=options.__doc__, **keys)
    section.options_class = options
    return section


def _field(option: Option) -> tuple[Any, Any]:
    """An option as pydantic's (type, default with bounds and description)."""
    default = ... if option.default is REQUIRED else _as_yaml(option.default)
    bounds = {"ge": option.at_least, "gt": option.more_than, "le": option.at_most}
    limits = {name: bound for name, bound in bounds.items() if bound is not None}
    kinds = [_key_type(kind, limits) for kind in alternatives(option.type)]
    return Union[tuple(kinds)], Field(default=default, description=option.doc)  # noqa: UP007  the types are values here


def _key_type(kind: Any, limits: dict[str, Any]) -> Any:
    """A type as YAML spells it: a tuple is a list there, a path is text; bounds are a number's."""
    if kind in (int, float):
        return Annotated[kind, Field(**limits)] if limits else kind
    if kind is Path:
        return FilePath
    if get_origin(kind) is dict and Path in get_args(kind):
        return dict[str, FilePath]
    if get_origin(kind) is not tuple:
        return kind
    items = [_key_type(item, {}) for item in get_args(kind) if item is not ...]
    every: Any = list[items[0]]  # type: ignore[valid-type]  # a type made at run time
    return every if ... in get_args(kind) else Annotated[every, Field(min_length=len(items), max_length=len(items))]


def _as_yaml(value: Any) -> Any:
    return [_as_yaml(item) for item in value] if isinstance(value, tuple) else value


Choices = Annotated[list[Annotated[list[NotNegative], Field(min_length=1)]], Field(min_length=1)]
"""A tree of draft tokens: the path to each node, by the rank of the token at each level."""
_DRAFTS = {
    "medusa": ("medusa_choices",),
    "eagle": ("eagle_choices",),
    "lookahead": ("lookahead_window_size", "lookahead_ngram_size", "lookahead_verification_set_size"),
}
"""Speculative decoding modes and the keys that each needs."""


class TensorRtLlmSection(Section):
    """NVIDIA's C++ backend with an engine folder. Keys are the backend's parameters; what is left out is its default."""

    kind: Literal["tensorrtllm"]
    engine_dir: FilePath
    batching_strategy: Literal["inflight_fused_batching", "inflight_batching", "V1", "v1"] = "inflight_fused_batching"
    max_beam_width: Positive | None = None
    max_tokens_in_paged_kv_cache: Positive | None = None
    max_attention_window_size: Positive | None = None
    batch_scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] | None = None
    kv_cache_free_gpu_mem_fraction: Fraction | None = None
    kv_cache_host_memory_bytes: NotNegative | None = None
    enable_kv_cache_reuse: bool | None = None
    enable_chunked_context: bool | None = None
    normalize_log_probs: bool | None = None
    decoding_mode: Literal["top_k", "top_p", "top_k_top_p", "beam_search", "medusa", "eagle", "lookahead"] | None = None
    medusa_choices: Choices | None = None
    eagle_choices: Choices | None = None
    lookahead_window_size: Positive | None = None
    lookahead_ngram_size: Positive | None = None
    lookahead_verification_set_size: Positive | None = None
    speculative_decoding_fast_logits: bool | None = None
    lora_cache_optimal_adapter_size: Positive | None = None
    lora_cache_max_adapter_size: Positive | None = None
    lora_cache_gpu_memory_fraction: Fraction | None = None
    lora_cache_host_memory_bytes: Positive | None = None
    lora_prefetch_dir: FilePath | None = None
    cuda_graph_mode: bool | None = None
    cuda_graph_cache_size: NotNegative | None = None
    stats_check_period_ms: Positive | None = None
    iter_stats_max_iterations: Positive | None = None
    request_stats_max_iterations: NotNegative | None = None
    cross_kv_cache_fraction: Fraction | None = None
    gpu_device_ids: str | None = None
    participant_ids: str | None = None
    num_nodes: Positive | None = None
    sink_token_length: NotNegative | None = None
    kv_cache_onboard_blocks: bool | None = None
    gpu_weights_percent: Annotated[float, Field(ge=0, le=1)] | None = None
    multi_block_mode: bool | None = None
    enable_context_fmha_fp32_acc: bool | None = None
    cancellation_check_period_ms: Positive | None = None
    guided_decoding_backend: Literal["xgrammar"] | None = None
    xgrammar_tokenizer_info_path: FilePath | None = None

    @model_validator(mode="after")
    def _check_drafts(self) -> TensorRtLlmSection:
        """A speculative mode without its keys ends the backend at its first request; keys without their mode do nothing."""
        for mode, keys in _DRAFTS.items():
            for key in keys:
                value = getattr(self, key)
                if self.decoding_mode == mode and value is None:
                    raise fault_at(("decoding_mode",), f"{mode} needs engine.{key}", mode)
                if self.decoding_mode != mode and value is not None:
                    raise fault_at((key,), f"is for decoding_mode {mode}; give that too, or leave it out", value)
        return self


PROCESS_ENGINES = {kind: engine_section(kind, engine.options) for kind, engine in ENGINES.items()}
"""{kind: its section}. A new kind of engine is a line of ENGINES, and none here."""
OpenVinoSection = PROCESS_ENGINES["openvino"]
ReplaySection = PROCESS_ENGINES["replay"]

if TYPE_CHECKING:
    EngineSection = ProcessEngineSection | TensorRtLlmSection
else:
    _SECTIONS = (*PROCESS_ENGINES.values(), TensorRtLlmSection)
    EngineSection = Annotated[Union[_SECTIONS], Field(discriminator="kind")]  # noqa: UP007  a union made at run time


def adapters_of(engine: EngineSection) -> tuple[str, ...]:
    """The names of the engine's adapters."""
    return tuple(getattr(engine, "lora", ()))


def with_engine_paths(engine: EngineSection, base: Path) -> EngineSection:
    """Relative paths of the section, also those of a mapping, taken from `base`, the folder of the deployment's file."""
    changes: dict[str, Any] = {}
    for name in type(engine).model_fields:
        value = getattr(engine, name)
        if isinstance(value, Path):
            changes[name] = (base / value).resolve()
        elif isinstance(value, dict) and value and all(isinstance(path, Path) for path in value.values()):
            changes[name] = {key: (base / path).resolve() for key, path in value.items()}
    return engine.model_copy(update=changes)
