"""Checks of a vLLM engine: its interpreter and version, the GPUs, and the model's memory against theirs.

Sizes are estimates from the checkpoint's files: what cannot fit is an error, what vLLM finds out itself is left to it.
"""

from __future__ import annotations

from qwen_triton.checkpoint.hub import resolve_model
from qwen_triton.engines.gpu.footprint import Footprint, read_footprint
from qwen_triton.engines.vllm.core import check_release
from qwen_triton.engines.vllm.options import VllmOptions
from qwen_triton.errors import ConfigurationError

from ...trtllm.gpus import Gpu
from ..check import Check, CheckWarning
from ..site import Site
from .devices import DRIVERS, check_count, check_driver, gib
from .installed_library import InstalledLibrary, site_options

KIND = "vllm"
_LIBRARY = InstalledLibrary(
    kind=KIND,
    title="vLLM",
    package="vllm",
    arguments="import inspect, json; from vllm.engine.arg_utils import EngineArgs; "
    "print(json.dumps(list(inspect.signature(EngineArgs).parameters)))",
)
_CUDA = "13"
"""That of releases whose version does not say."""
_CAPABILITY = 7.5


def options(site: Site) -> VllmOptions:
    """The engine's options, of a deployment whose engine is vLLM."""
    return site_options(site, VllmOptions)


def interpreter(site: Site) -> str:
    return _LIBRARY.interpreter(options(site).python).python


def version(site: Site) -> str:
    """Asks the interpreter, without importing vllm, which takes many seconds."""
    found = _version(site)
    check_release(found)
    return f"vllm {found}"


def arguments(site: Site) -> str:
    """Asks the installed vLLM for the arguments of its engine, which takes as long as importing it."""
    given = options(site)
    return _LIBRARY.check_arguments(_LIBRARY.interpreter(given.python), given.arguments(), given.extra)


def driver(site: Site) -> str:
    cuda = _cuda(site)
    if cuda is None:
        return f"not asked for by vllm {_version(site)}"
    return check_driver(site, cuda)


def gpus(site: Site) -> str:
    if _cuda(site) is None:
        return "not counted"
    return check_count(_gpus(site), _wanted(options(site)), "vLLM", _CAPABILITY, "take a Turing (T4) or newer")


def memory(site: Site) -> str:
    """Compares the weights with what vLLM may use of a GPU, and that with what is free now: it may be freed yet."""
    footprint, given = _footprint(site), options(site)
    if footprint is None or _cuda(site) is None:
        return "not known before vLLM loads it"
    gpu = min(_gpus(site), key=lambda one: one.memory_mib)
    if not gpu.memory_mib:
        return "nvidia-smi does not say"
    part, usable = given.gpu_memory_utilization, _usable(gpu, given)
    weights = footprint.weights_of_a_gpu(given)
    if weights > usable:
        raise ConfigurationError(
            f"{gib(weights)} of weights a GPU, and gpu_memory_utilization {part} of {gpu.memory_mib / 1024:.1f} GiB is "
            f"{gib(usable)}; quantize (engine.quantization: fp8, or an AWQ or GPTQ checkpoint), or share the model among "
            "more GPUs (engine.tensor_parallel_size)"
        )
    if gpu.free_mib is not None and gpu.free_mib << 20 < usable:
        raise CheckWarning(
            f"{gpu.free_mib / 1024:.1f} GiB of {gpu.name} are free, and gpu_memory_utilization {part} asks for "
            f"{gib(usable)}; end what uses the GPU, or set engine.gpu_memory_utilization to "
            f"{int(100 * gpu.free_mib / gpu.memory_mib) / 100}"
        )
    return f"{gib(weights)} of weights a GPU, {gib(usable)} may be used"


def context(site: Site) -> str:
    """Compares a sequence of full length with the memory that weights leave for keys and values."""
    footprint, given = _footprint(site), options(site)
    if footprint is None:
        return "not known before vLLM loads it"
    _check_lengths(footprint, given)
    length = given.max_model_len or footprint.context
    if length is None or _cuda(site) is None:
        return "as vLLM finds it"
    gpu = min(_gpus(site), key=lambda one: one.memory_mib)
    if not gpu.memory_mib:
        return "nvidia-smi does not say"
    left = _usable(gpu, given) - footprint.weights_of_a_gpu(given)
    room = left // footprint.token_of_a_gpu(given)
    if room < length:
        raise ConfigurationError(
            f"{gib(left)} of a GPU are left for keys and values: {room} tokens, and a sequence may have {length}; set "
            f"engine.max_model_len below {room}, kv_cache_dtype: fp8, or a higher tensor_parallel_size"
        )
    if given.max_num_seqs is not None and room < 2 * length and given.max_num_seqs > 1:
        raise CheckWarning(
            f"room for some {room} tokens, less than two sequences of {length}; others wait: lower engine.max_model_len to "
            "what requests need, or set kv_cache_dtype: fp8"
        )
    return f"room for some {room} tokens, {room // length} sequences of {length}"


def _check_lengths(footprint: Footprint, given: VllmOptions) -> None:
    asked, has = given.max_model_len, footprint.context
    if asked is not None and has is not None and asked > has and "hf_overrides" not in given.extra:
        raise ConfigurationError(
            f"engine.max_model_len: {asked}, and config.json gives the model {has}; lower it, or scale its positions by "
            "extra: {hf_overrides: {rope_parameters: …}}"
        )


def _version(site: Site) -> str:
    """Raises ConfigurationError where the interpreter has no vllm, or lacks msgpack."""
    return _LIBRARY.version(_LIBRARY.interpreter(options(site).python))


def _cuda(site: Site) -> str | None:
    """The CUDA that this vLLM was built for, its first number; None for a build for other devices."""
    local = _version(site).partition("+")[2]
    if not local:
        return _CUDA
    return local[2:4] if local.startswith("cu") and local[2:4] in DRIVERS else None


def _wanted(given: VllmOptions) -> int:
    """GPUs of this machine: all of them but those of other nodes."""
    nodes = given.extra.get("nnodes", 1)
    size = given.tensor_parallel_size * given.pipeline_parallel_size
    return size // nodes if isinstance(nodes, int) and nodes > 0 else size


def _gpus(site: Site) -> list[Gpu]:
    """Those that the engine takes."""
    return site.gpus[: _wanted(options(site))]


def _usable(gpu: Gpu, given: VllmOptions) -> int:
    return int((gpu.memory_mib << 20) * given.gpu_memory_utilization)


def _footprint(site: Site) -> Footprint | None:
    """None for a model that is fetched at the start, and for one whose sizes are not known here."""
    if not site.model_dir.is_dir():
        return None
    return read_footprint(resolve_model(str(site.model_dir)), options(site))


CHECKS = (
    Check("engine interpreter", "a Python that has vllm", interpreter),
    Check("vLLM", "a release that is supported", version, needs="engine interpreter"),
    Check("vLLM arguments", "those of the installed vLLM's engine", arguments, needs="vLLM", thorough=True),
    Check("GPU driver", "580 or newer for CUDA 13", driver, needs="vLLM"),
    Check("GPU count", "tensor_parallel_size × pipeline_parallel_size", gpus, needs="GPU driver"),
    Check("GPU memory", "the weights within gpu_memory_utilization of a GPU that is free", memory, needs="GPU count"),
    Check("KV memory", "a sequence of max_model_len beside the weights", context, needs="GPU memory"),
)
