"""Checks of a TensorRT-LLM engine folder against the installed version, the GPUs and the deployment."""

from __future__ import annotations

import shutil

from qwen_triton.errors import ConfigurationError

from ..launch.ranks import check_mpirun
from ..repository.trtllm_placeholders import feature_faults, size_faults, vocabulary_faults
from ..trtllm.built_engine import BuiltEngine
from ..trtllm.tools.versions import Version, served_version
from .check import Check, CheckWarning
from .installed_trtllm import installed_version
from .site import Site

_DRIVER = 535
_MARGIN = 1.15
"""Memory of a rank as a multiple of its plan's size: activations and the KV cache come on top."""


def folder(site: Site) -> str:
    engine = site.built
    return f"{engine.architecture}, {engine.dtype}, tp {engine.tp_size} × pp {engine.pp_size}, TensorRT-LLM {engine.version}"


def version(site: Site) -> str:
    """A plan runs only with the TensorRT version that built it."""
    engine = site.built
    served_version(engine.version)
    installed = installed_version(site.environment)
    if installed is None:
        raise CheckWarning(
            f"the engine is of {engine.version}, no TensorRT-LLM is found here; serve it in the image that built it"
        )
    if Version.parse(installed) != Version.parse(engine.version):
        raise ConfigurationError(
            f"the engine is of TensorRT-LLM {engine.version}, and {installed} is installed; "
            "build it again here, or serve it in the image of its version"
        )
    return f"engine {engine.version}, installed {installed}"


def rank_files(site: Site) -> str:
    engine = site.built
    bad = [file for file in engine.rank_files() if not file.is_file() or file.stat().st_size == 0]
    if bad:
        raise ConfigurationError(
            f"{bad[0]} is missing or empty ({len(bad)} of {engine.world_size}); the build did not end, build it again"
        )
    stray = engine.stray_rank_files()
    if stray:
        raise CheckWarning(f"{stray[0].name} belongs to no rank of this engine; an older build left it, delete it")
    return f"{engine.world_size} of {engine.world_size}"


def driver(site: Site) -> str:
    if not site.gpus:
        raise ConfigurationError("no GPU is visible; install NVIDIA's driver, in a container give --gpus all")
    found = site.gpus[0].driver
    if found and int(found.split(".")[0]) < _DRIVER:
        raise ConfigurationError(f"driver {found} is too old; install {_DRIVER} or newer")
    return f"driver {found or 'of unknown version'}"


def gpu_count(site: Site) -> str:
    engine = site.built
    if len(site.gpus) < engine.world_size:
        raise ConfigurationError(
            f"{len(site.gpus)} GPUs for {engine.world_size} ranks (tp {engine.tp_size} × pp {engine.pp_size}); "
            "give the container more, or build with fewer"
        )
    return f"{len(site.gpus)} × {site.gpus[0].name}"


def gpu_memory(site: Site) -> str:
    engine = site.built
    needed = round(_largest_plan(engine) / 2**20 * _MARGIN)
    least = min(gpu.memory_mib for gpu in site.gpus[: engine.world_size])
    if least and needed > least:
        raise ConfigurationError(
            f"a rank needs some {needed} MiB and the GPU has {least}; quantise, or build for more GPUs (tp_size)"
        )
    return f"{least} MiB, a rank's weights need some {needed}"


def mpirun(site: Site) -> str:
    if site.built.world_size == 1:
        return "not needed: one rank"
    check_mpirun()
    return f"{shutil.which('mpirun')} for {site.built.world_size} ranks"


def _largest_plan(engine: BuiltEngine) -> int:
    return max(file.stat().st_size for file in engine.rank_files())


def limits(site: Site) -> str:
    _refuse(size_faults(site.trtllm, site.deployment.repository, site.built))
    engine = site.built
    return f"batch {engine.max_batch_size}, beam {engine.max_beam_width}, {engine.max_seq_len} tokens"


def engine_features(site: Site) -> str:
    _refuse(feature_faults(site.trtllm, site.built))
    return "paged context attention" if site.built.paged_context else "no paged context attention, and none asked for"


def engine_vocabulary(site: Site) -> str:
    _refuse(vocabulary_faults(site.built, site.model_dir))
    return str(site.built.vocab_size)


def _refuse(faults: list[str]) -> None:
    if faults:
        raise ConfigurationError("\n".join(faults))


CHECKS = (
    Check("engine folder", "config.json of trtllm-build", folder),
    Check("engine version", "the TensorRT-LLM that is installed", version, needs="engine folder"),
    Check("rank files", "one plan for each rank, none empty", rank_files, needs="engine folder"),
    Check("GPU driver", f"{_DRIVER} or newer", driver, needs="engine folder"),
    Check("GPU count", "one for each rank", gpu_count, needs="GPU driver"),
    Check("GPU memory", "more than a rank's weights", gpu_memory, needs="GPU count"),
    Check("mpirun", "Open MPI where the engine has several ranks", mpirun, needs="engine folder"),
    Check("batch, beam, length", "within what the engine was built for", limits, needs="engine folder"),
    Check("engine features", "what the deployment asks for is built in", engine_features, needs="engine folder"),
    Check("vocabulary", "the checkpoint's and the engine's are one", engine_vocabulary, needs="engine folder"),
)
