"""GPUs of a machine against what an engine needs: driver, number, and sizes for people."""

from __future__ import annotations

from qwen_triton.errors import ConfigurationError

from ...trtllm.gpus import Gpu
from ..check import CheckWarning
from ..site import Site

DRIVERS = {"12": 525, "13": 580}
"""{CUDA of a library: the oldest driver}."""
_GIB = 2**30


def check_driver(site: Site, cuda: str) -> str:
    """Compares the driver with the CUDA that a library was built for. Raises ConfigurationError, CheckWarning."""
    if not site.gpus:
        raise ConfigurationError("no GPU is visible; install NVIDIA's driver, in a container give --gpus all")
    found, oldest = site.gpus[0].driver, DRIVERS[cuda]
    if found and int(found.split(".")[0]) < oldest:
        raise CheckWarning(
            f"driver {found} is older than CUDA {cuda} needs; install {oldest} or newer, or CUDA's package for compatibility"
        )
    return f"driver {found or 'of unknown version'}, CUDA {cuda}"


def check_count(chosen: list[Gpu], wanted: int, title: str, capability: float, remedy: str) -> str:
    """Compares GPUs with their number and the oldest that the kernels of `title` are for. Raises ConfigurationError."""
    if len(chosen) < wanted:
        raise ConfigurationError(
            f"{len(chosen)} GPUs, and tensor_parallel_size × pipeline_parallel_size is {wanted}; give it more, or lower them"
        )
    old = next((gpu for gpu in chosen if gpu.compute_capability < capability), None)
    if old is not None:
        raise ConfigurationError(
            f"{old.name} has compute capability {old.compute_capability}, and {title}'s kernels begin at {capability}; {remedy}"
        )
    return f"{wanted} × {chosen[0].name}"


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / _GIB:.1f} GiB"
