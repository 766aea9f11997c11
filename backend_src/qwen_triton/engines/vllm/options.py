"""Options of the vLLM engine, under vLLM's own names (`vllm serve --help`), and `extra` for all that are not here.

Imports no vllm: the deployment's schema is made from this too. Options that are left out have vLLM's default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ...checkpoint.hub import Hub
from ..gpu.adapters import Adapter, room_for
from ..gpu.extra import check_adapter_names, check_extra, library_arguments
from ..option import REQUIRED, OptionError, check_options, option

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values of vLLM's max_lora_rank."""

_OURS = {
    "model", "hub", "revision", "python", "extra", "lora", "max_loras", "max_cpu_loras", "max_lora_rank", "arrival_pause_ms",
}  # fmt: skip
"""Options that vLLM does not get as they are: it gets a folder, already fetched, and adapters that were read."""
_FIXED = {
    "skip_tokenizer_init": "text is made before and after the engine, so its core needs no tokenizer",
    "disable_log_stats": "the engine's counters are made of vLLM's statistics",
    "served_model_name": "give served_model_name at the top of the deployment",
    "tokenizer": "the tokenizer is the model's",
    "generation_config": "preprocessing reads generation_config.json",
    "data_parallel_size": "run a deployment for each replica and a router before them",
    "enable_lora": "give adapters as engine.lora",
}
"""Arguments that `extra` must not set, with the reason."""


@dataclass(frozen=True, slots=True)
class VllmOptions:
    """`model` and `hub` are no keys of `engine:`; the deployment gives the model's folder."""

    model: str = option(
        REQUIRED, "a checkpoint's folder, or its name on `hub`", phrase="a folder or a hub name", in_deployment=False
    )
    hub: Hub = option("huggingface", "where a name is fetched from", in_deployment=False)
    python: str | None = option(
        None,
        "interpreter of the engine's process, one that can import vllm; None = the models' own if it can, else "
        ".venv-vllm (made by `make vllm`)",
        phrase="a path",
    )
    tensor_parallel_size: int = option(1, "GPUs that share each layer", at_least=1)
    pipeline_parallel_size: int = option(1, "groups of GPUs that share the layers one after another", at_least=1)
    distributed_executor_backend: Literal["uni", "mp", "ray"] | None = option(
        None, "how the processes of several GPUs are run"
    )
    dtype: Literal["auto", "half", "float16", "bfloat16", "float", "float32"] = option(
        "auto", "type of weights and activations"
    )
    quantization: str | None = option(None, "method of quantization; None = as the checkpoint says")
    load_format: str = option("auto", "how weights are loaded; dummy = random ones, for measurements")
    revision: str | None = option(None, "branch, tag or commit of a model from a hub")
    trust_remote_code: bool = option(False, "run code that comes with the checkpoint")
    max_model_len: int | None = option(None, "tokens of prompt and answer together", at_least=1)
    max_num_seqs: int | None = option(None, "sequences in a step; others wait", at_least=1)
    max_num_batched_tokens: int | None = option(None, "tokens of a step; longer prompts are split", at_least=1)
    gpu_memory_utilization: float = option(
        0.92, "part of the GPU's memory for weights and cache", more_than=0, at_most=1
    )
    kv_cache_dtype: str = option("auto", "type of keys and values, such as fp8")
    block_size: int | None = option(None, "tokens in a block of the cache", at_least=1)
    enable_prefix_caching: bool | None = option(None, "prompts that begin alike are computed once")
    enable_chunked_prefill: bool | None = option(None, "long prompts are computed beside answers")
    arrival_pause_ms: float = option(
        0.0, "new sequences begin in groups, at most one in so many ms; 0 = each at once", at_least=0, at_most=1000
    )
    async_scheduling: bool | None = option(None, "the next step is scheduled while the last one runs")
    scheduling_policy: Literal["fcfs", "priority"] = option("fcfs", "which waiting sequence is next")
    enforce_eager: bool = option(False, "no CUDA graphs and no compilation: a quicker start, slower steps")
    optimization_level: int | None = option(None, "0 to 3: how much is compiled and captured", at_least=0, at_most=3)
    performance_mode: Literal["balanced", "interactivity", "throughput"] = option(
        "balanced", "whether sizes of graphs and batches favour latency or throughput"
    )
    compilation_config: dict[str, Any] | None = option(None, "vLLM's settings of compilation and CUDA graphs")
    speculative_config: dict[str, Any] | None = option(None, "vLLM's settings of speculative decoding")
    attention_backend: str | None = option(None, "vLLM's name of an attention kernel")
    cpu_offload_gb: float = option(0.0, "GiB of weights for each GPU that lie in the machine's memory", at_least=0)
    max_logprobs: int = option(20, "most log probabilities of a token that a request may have", at_least=0, at_most=20)
    lora: dict[str, Path] = option({}, "LoRA adapters: the folder of each by the name that requests choose it by")
    max_loras: int | None = option(None, "adapters in a batch, others wait; None = all, up to 8", at_least=1)
    max_cpu_loras: int | None = option(None, "adapters kept in the machine's memory; None = all", at_least=1)
    max_lora_rank: int | None = option(None, "the largest rank of an adapter; None = that of `lora`", at_least=1)
    extra: dict[str, Any] = option({}, "further arguments of vLLM's engine, under its names")

    def __post_init__(self) -> None:
        check_options(self)
        if not self.model:
            raise OptionError("model", "must be a folder or a hub name", self.model)
        self._check_adapters()
        check_extra(self, _FIXED)

    def _check_adapters(self) -> None:
        check_adapter_names(self.lora)
        needed = max(len(self.lora), self.max_loras or 1)
        if self.lora and self.max_cpu_loras is not None and self.max_cpu_loras < needed:
            reason = f"must be at least {needed}, or an adapter would be read again in the middle of a step"
            raise OptionError("max_cpu_loras", reason, self.max_cpu_loras)

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of vLLM's EngineArgs, without the model: what differs from vLLM's defaults, and `extra`."""
        return library_arguments(self, _OURS)

    def adapter_arguments(self, adapters: Sequence[Adapter]) -> dict[str, Any]:
        """Arguments of vLLM's engine by which it has room for the adapters; none where there are none.

        Raises ConfigurationError for less than the adapters need.
        """
        if not adapters:
            return {}
        room = room_for(adapters, self.max_loras, self.max_cpu_loras, self.max_lora_rank)
        return {
            "enable_lora": True,
            "max_lora_rank": self.max_lora_rank or next(rank for rank in RANKS if rank >= room.max_lora_rank),
            "max_loras": room.max_loras,
            "max_cpu_loras": room.max_cpu_loras,
        }
