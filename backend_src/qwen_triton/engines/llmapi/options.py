"""Options of the llmapi engine, under the names of TensorRT-LLM's LLM arguments, and `extra` for all that are not here.

Imports no tensorrt_llm: the deployment's schema is made from this too. Options that are left out have TensorRT-LLM's default.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...checkpoint.hub import Hub
from ..gpu.extra import check_adapter_names, check_extra, library_arguments
from ..option import REQUIRED, OptionError, check_options, option

_OURS = {"model", "hub", "revision", "python", "extra", "lora", "max_loras", "max_cpu_loras", "max_lora_rank"}
"""Options that TensorRT-LLM does not get as they are: it gets a folder, already fetched, and adapters that were read."""
_TEXT = "text is made before and after the engine"
_FIXED = {
    "skip_tokenizer_init": f"{_TEXT}; engine.guided_decoding_backend loads the tokenizer that it needs",
    "tokenizer": "the tokenizer is the model's",
    "tokenizer_mode": _TEXT,
    "tokenizer_revision": _TEXT,
    "custom_tokenizer": _TEXT,
    "num_postprocess_workers": _TEXT,
    "postprocess_tokenizer_dir": _TEXT,
    "post_processor_hook": _TEXT,
    "reasoning_parser": _TEXT,
    "backend": "the engine is written for TensorRT-LLM's PyTorch backend",
    "orchestrator_type": "the engine is written for workers that MPI starts",
    "mpi_session": "the workers are TensorRT-LLM's own",
    "_mpi_session": "the workers are TensorRT-LLM's own",
    "max_beam_width": "there is no beam search: a request runs with one sequence",
    "enable_iter_perf_stats": "the engine's counters are made of these statistics",
    "enable_lora": "give adapters as engine.lora",
    "lora_config": "give adapters as engine.lora",
}
"""Arguments that `extra` must not set, with the reason."""


@dataclass(frozen=True, slots=True)
class LlmapiOptions:
    """`model` and `hub` are no keys of `engine:`; the deployment gives the model's folder."""

    model: str = option(
        REQUIRED, "a checkpoint's folder, or its name on `hub`", phrase="a folder or a hub name", in_deployment=False
    )
    hub: Hub = option("huggingface", "where a name is fetched from", in_deployment=False)
    python: str | None = option(
        None,
        "interpreter of the engine's process, one that can import tensorrt_llm; None = the models' own if it can",
        phrase="a path",
    )
    tensor_parallel_size: int = option(1, "GPUs that share each layer", at_least=1)
    pipeline_parallel_size: int = option(1, "groups of GPUs that share the layers one after another", at_least=1)
    moe_tensor_parallel_size: int | None = option(None, "GPUs that share each expert", at_least=1)
    moe_expert_parallel_size: int | None = option(None, "groups of GPUs that share the experts", at_least=1)
    gpus_per_node: int | None = option(None, "GPUs of a node; None = all that are visible", at_least=1)
    dtype: Literal["auto", "float16", "bfloat16", "float32"] = option("auto", "type of weights and activations")
    load_format: Literal["auto", "dummy"] = option(
        "auto", "how weights are loaded; dummy = random ones, for measurements"
    )
    revision: str | None = option(None, "branch, tag or commit of a model from a hub")
    trust_remote_code: bool = option(False, "run code that comes with the checkpoint")
    max_seq_len: int | None = option(
        None, "tokens of prompt and answer together; None = config.json's max_position_embeddings", at_least=1
    )
    max_batch_size: int | None = option(None, "sequences in a step; others wait", at_least=1)
    max_num_tokens: int | None = option(None, "tokens of a step; None = 8192", at_least=1)
    enable_chunked_prefill: bool = option(False, "prompts longer than max_num_tokens are split; without it refused")
    kv_cache_config: dict[str, Any] | None = option(
        None, "the cache of keys and values: free_gpu_memory_fraction, enable_block_reuse, dtype, host_cache_size, …"
    )
    scheduler_config: dict[str, Any] | None = option(None, "which sequences a step takes")
    cuda_graph_config: dict[str, Any] | None = option(None, "CUDA graphs: batch_sizes, max_batch_size, enable_padding")
    speculative_config: dict[str, Any] | None = option(None, "speculative decoding: decoding_type and its settings")
    attn_backend: str | None = option(None, "TensorRT-LLM's name of an attention kernel")
    disable_overlap_scheduler: bool = option(False, "the next step is not prepared while the last one runs")
    sampler_type: Literal["auto", "TorchSampler", "TRTLLMSampler"] = option(
        "auto", "of TensorRT-LLM 1.2: TRTLLMSampler honours seeds, penalties, min_p and bad words, auto does not"
    )
    stream_interval: int = option(1, "steps between two outputs of a sequence", at_least=1)
    guided_decoding_backend: Literal["xgrammar"] | None = option(
        None, "what keeps the form of an answer; None = requests for a form are refused"
    )
    lora: dict[str, Path] = option({}, "LoRA adapters: the folder of each by the name that requests choose it by")
    max_loras: int | None = option(None, "adapters in a batch, others wait; None = all, up to 8", at_least=1)
    max_cpu_loras: int | None = option(None, "adapters kept in the machine's memory; None = all", at_least=1)
    max_lora_rank: int | None = option(None, "the largest rank of an adapter; None = that of `lora`", at_least=1)
    extra: dict[str, Any] = option({}, "further arguments of TensorRT-LLM's LLM, under its names")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.model:
            raise OptionError("model", "must be a folder or a hub name", self.model)
        check_adapter_names(self.lora)
        check_extra(self, _FIXED)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the LLM, without model and adapters: what differs from its defaults, and `extra`."""
        return library_arguments(self, _OURS)
