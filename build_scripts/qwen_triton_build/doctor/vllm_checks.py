"""Checks of a vLLM engine: its interpreter and version, the GPUs, and the model's memory against theirs.

Sizes are estimates from the checkpoint's files: what cannot fit is an error, what vLLM finds out itself is left to it.
"""

from __future__ import annotations

import difflib
import json
import subprocess
from functools import lru_cache

from qwen_triton.checkpoint.hub import resolve_model
from qwen_triton.engines.gpu.footprint import Footprint, read_footprint
from qwen_triton.engines.kinds import ENGINES
from qwen_triton.engines.option import read_options
from qwen_triton.engines.process.interpreter import Interpreter, find_interpreter
from qwen_triton.engines.vllm.core import check_release
from qwen_triton.engines.vllm.options import VllmOptions
from qwen_triton.errors import ConfigurationError

from ..deployment.engine_sections import ProcessEngineSection
from ..trtllm.gpus import Gpu
from .check import Check, CheckWarning
from .site import Site

KIND = "vllm"
_DRIVERS = {"12": 525, "13": 580}
"""{CUDA of a vLLM: the oldest driver}."""
_CUDA = "13"
"""That of releases whose version does not say."""
_CAPABILITY = 7.5
_VERSION = "import msgpack; from importlib.metadata import version; print(version('vllm'))"
_ARGUMENTS = (
    "import inspect, json; from vllm.engine.arg_utils import EngineArgs; "
    "print(json.dumps(list(inspect.signature(EngineArgs).parameters)))"
)
_ASK_S = 120.0
_GIB = 2**30


def options(site: Site) -> VllmOptions:
    """The engine's options, of a deployment whose engine is vLLM."""
    engine = site.deployment.engine
    assert isinstance(engine, ProcessEngineSection)
    given = engine.engine_options(site.model_dir)
    return read_options(VllmOptions, {name: value for name, value in given.items() if name != "engine"})


def interpreter(site: Site) -> str:
    return _interpreter(site).python


def version(site: Site) -> str:
    """Asks the interpreter, without importing vllm, which takes many seconds."""
    found = _version(site)
    check_release(found)
    return f"vllm {found}"


def arguments(site: Site) -> str:
    """Asks the installed vLLM for the arguments of its engine, which takes as long as importing it."""
    found = _interpreter(site)
    known = set(json.loads(_ask(found, _ARGUMENTS)))
    given = options(site).arguments()
    faults = []
    for name in sorted(set(given) - known):
        near = difflib.get_close_matches(name, known, 1)
        key = f"engine.extra.{name}" if name in options(site).extra else f"engine.{name}"
        remedy = f"did you mean {near[0]}?" if near else "leave it out"
        faults.append(f"{key}: this vllm has no such argument; {remedy}")
    if faults:
        raise ConfigurationError("\n".join(faults))
    return f"{len(given)} of {len(known)} are set"


def driver(site: Site) -> str:
    cuda = _cuda(site)
    if cuda is None:
        return f"not asked for by vllm {_version(site)}"
    if not site.gpus:
        raise ConfigurationError("no GPU is visible; install NVIDIA's driver, in a container give --gpus all")
    found, oldest = site.gpus[0].driver, _DRIVERS[cuda]
    if found and int(found.split(".")[0]) < oldest:
        raise CheckWarning(
            f"driver {found} is older than CUDA {cuda} needs; install {oldest} or newer, or CUDA's package for compatibility"
        )
    return f"driver {found or 'of unknown version'}, CUDA {cuda}"


def gpus(site: Site) -> str:
    if _cuda(site) is None:
        return "not counted"
    chosen, wanted = _gpus(site), _wanted(options(site))
    if len(chosen) < wanted:
        raise ConfigurationError(
            f"{len(chosen)} GPUs, and tensor_parallel_size × pipeline_parallel_size is {wanted}; give it more, or lower them"
        )
    old = next((gpu for gpu in chosen if gpu.compute_capability < _CAPABILITY), None)
    if old is not None:
        raise ConfigurationError(
            f"{old.name} has compute capability {old.compute_capability}, and vLLM's kernels begin at {_CAPABILITY}; "
            "take a Turing (T4) or newer"
        )
    return f"{wanted} × {chosen[0].name}"


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
            f"{_gib(weights)} of weights a GPU, and gpu_memory_utilization {part} of {gpu.memory_mib / 1024:.1f} GiB is "
            f"{_gib(usable)}; quantize (engine.quantization: fp8, or an AWQ or GPTQ checkpoint), or share the model among "
            "more GPUs (engine.tensor_parallel_size)"
        )
    if gpu.free_mib is not None and gpu.free_mib << 20 < usable:
        raise CheckWarning(
            f"{gpu.free_mib / 1024:.1f} GiB of {gpu.name} are free, and gpu_memory_utilization {part} asks for "
            f"{_gib(usable)}; end what uses the GPU, or set engine.gpu_memory_utilization to "
            f"{int(100 * gpu.free_mib / gpu.memory_mib) / 100}"
        )
    return f"{_gib(weights)} of weights a GPU, {_gib(usable)} may be used"


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
            f"{_gib(left)} of a GPU are left for keys and values: {room} tokens, and a sequence may have {length}; set "
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


def _interpreter(site: Site) -> Interpreter:
    kind = ENGINES[KIND]
    return find_interpreter(options(site).python, kind.requires, kind.environment)


def _version(site: Site) -> str:
    """Raises ConfigurationError where the interpreter has no vllm, or lacks msgpack."""
    return _ask(_interpreter(site), _VERSION)


def _ask(found: Interpreter, script: str) -> str:
    return _answer(found.python, None if found.environment is None else tuple(found.environment.items()), script)


@lru_cache(maxsize=8)
def _answer(python: str, environment: tuple[tuple[str, str], ...] | None, script: str) -> str:
    """The last line that a script prints. Several checks need it; an error is not kept."""
    try:
        done = subprocess.run(
            [python, "-c", script],
            env=None if environment is None else dict(environment),
            capture_output=True, text=True, timeout=_ASK_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ConfigurationError(
            f"{python} did not answer within {_ASK_S:.0f} s; name another as engine.python"
        ) from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise ConfigurationError(
            f"{python} cannot serve vLLM: {last}; install vllm and msgpack there, or name another as engine.python"
        )
    return done.stdout.strip().splitlines()[-1]


def _cuda(site: Site) -> str | None:
    """The CUDA that this vLLM was built for, its first number; None for a build for other devices."""
    local = _version(site).partition("+")[2]
    if not local:
        return _CUDA
    return local[2:4] if local.startswith("cu") and local[2:4] in _DRIVERS else None


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


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"


CHECKS = (
    Check("engine interpreter", "a Python that has vllm", interpreter),
    Check("vLLM", "a release that is supported", version, needs="engine interpreter"),
    Check("vLLM arguments", "those of the installed vLLM's engine", arguments, needs="vLLM", thorough=True),
    Check("GPU driver", "580 or newer for CUDA 13", driver, needs="vLLM"),
    Check("GPU count", "tensor_parallel_size × pipeline_parallel_size", gpus, needs="GPU driver"),
    Check("GPU memory", "the weights within gpu_memory_utilization of a GPU that is free", memory, needs="GPU count"),
    Check("KV memory", "a sequence of max_model_len beside the weights", context, needs="GPU memory"),
)
