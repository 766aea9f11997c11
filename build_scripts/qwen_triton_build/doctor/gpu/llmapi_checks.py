"""Checks of an llmapi engine: its interpreter and release, the GPUs, and the model's memory against theirs.

Sizes are estimates from the checkpoint's files: what cannot fit is an error, what TensorRT-LLM finds out itself is left to it.
"""

from __future__ import annotations

from dataclasses import dataclass

from qwen_triton.checkpoint.hub import resolve_model
from qwen_triton.engines.gpu.footprint import Footprint, read_footprint
from qwen_triton.engines.llmapi.options import LlmapiOptions
from qwen_triton.engines.llmapi.releases import release_of_library
from qwen_triton.errors import ConfigurationError

from ...trtllm.gpus import Gpu
from ..check import Check
from ..site import Site
from .devices import check_count, check_driver, gib
from .installed_library import InstalledLibrary, site_options

KIND = "llmapi"
_LIBRARY = InstalledLibrary(
    kind=KIND,
    title="TensorRT-LLM",
    package="tensorrt_llm",
    arguments="import json; from tensorrt_llm.llmapi.llm_args import TorchLlmArgs; "
    "print(json.dumps(list(TorchLlmArgs.model_fields)))",
)
_CUDA = "13"
_CAPABILITY = 8.0
_FREE = 0.9
"""TensorRT-LLM's default of free_gpu_memory_fraction: of what the weights leave."""


@dataclass(frozen=True, slots=True)
class _Stored:
    """How the engine stores a checkpoint, for `read_footprint`."""

    dtype: str
    load_format: str
    kv_cache_dtype: str
    tensor_parallel_size: int
    pipeline_parallel_size: int
    quantization: str | None = None


def options(site: Site) -> LlmapiOptions:
    """The engine's options, of a deployment whose engine is llmapi."""
    return site_options(site, LlmapiOptions)


def interpreter(site: Site) -> str:
    return _LIBRARY.interpreter(options(site).python).python


def version(site: Site) -> str:
    """Asks the interpreter, without importing tensorrt_llm, which takes many seconds."""
    given = options(site)
    found = _LIBRARY.version(_LIBRARY.interpreter(given.python))
    release_of_library(found).check_sampler(given.sampler_type)
    return f"tensorrt_llm {found}"


def arguments(site: Site) -> str:
    """Asks the installed TensorRT-LLM for the arguments of its LLM, which takes as long as importing it."""
    given = options(site)
    return _LIBRARY.check_arguments(_LIBRARY.interpreter(given.python), given.arguments(), given.extra)


def driver(site: Site) -> str:
    return check_driver(site, _CUDA)


def gpus(site: Site) -> str:
    wanted = _wanted(options(site))
    return check_count(_gpus(site), wanted, "TensorRT-LLM", _CAPABILITY, "take an Ampere (A100, A10) or newer")


def memory(site: Site) -> str:
    """Compares the weights with a GPU, and what they leave with a sequence of full length."""
    footprint, given = _footprint(site), options(site)
    gpu = min(_gpus(site), key=lambda one: one.memory_mib)
    if footprint is None or not gpu.memory_mib:
        return "not known before TensorRT-LLM loads it"
    stored, total = _stored(given), gpu.memory_mib << 20
    weights = footprint.weights_of_a_gpu(stored)
    if weights > total:
        raise ConfigurationError(
            f"{gib(weights)} of weights a GPU, which has {gib(total)}; take a quantized checkpoint, or share the model "
            "among more GPUs (engine.tensor_parallel_size)"
        )
    fraction = float((given.kv_cache_config or {}).get("free_gpu_memory_fraction", _FREE))
    left = int((total - weights) * fraction)
    room, length = left // footprint.token_of_a_gpu(stored), given.max_seq_len or footprint.context
    if length is not None and room < length:
        raise ConfigurationError(
            f"{gib(left)} of a GPU are left for keys and values: {room} tokens, and a sequence may have {length}; set "
            f"engine.max_seq_len below {room}, kv_cache_config: {{dtype: fp8}}, or a higher tensor_parallel_size"
        )
    return f"{gib(weights)} of weights a GPU, room for some {room} tokens"


def _wanted(given: LlmapiOptions) -> int:
    return given.tensor_parallel_size * given.pipeline_parallel_size


def _gpus(site: Site) -> list[Gpu]:
    """Those that the engine takes."""
    return site.gpus[: _wanted(options(site))]


def _stored(given: LlmapiOptions) -> _Stored:
    dtype = str((given.kv_cache_config or {}).get("dtype", "auto"))
    return _Stored(given.dtype, given.load_format, dtype, given.tensor_parallel_size, given.pipeline_parallel_size)


def _footprint(site: Site) -> Footprint | None:
    """None for a model that is fetched at the start, and for one whose sizes are not known here."""
    if not site.model_dir.is_dir():
        return None
    return read_footprint(resolve_model(str(site.model_dir)), _stored(options(site)))


CHECKS = (
    Check("engine interpreter", "a Python that has tensorrt_llm", interpreter),
    Check("TensorRT-LLM", "a release that is supported", version, needs="engine interpreter"),
    Check("TensorRT-LLM arguments", "those of the installed LLM", arguments, needs="TensorRT-LLM", thorough=True),
    Check("GPU driver", "580 or newer for CUDA 13", driver, needs="TensorRT-LLM"),
    Check("GPU count", "tensor_parallel_size × pipeline_parallel_size", gpus, needs="GPU driver"),
    Check("GPU memory", "the weights, and a sequence of max_seq_len beside them", memory, needs="GPU count"),
)
