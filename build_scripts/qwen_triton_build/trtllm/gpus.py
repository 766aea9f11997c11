"""The GPUs that a build may use, as nvidia-smi tells; their count and kind are checked before an hour is spent."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

from qwen_triton.errors import ConfigurationError

from ..deployment.build_section import Build
from .plan import Step

_QUERY = ["--query-gpu=name,memory.total,compute_cap,driver_version", "--format=csv,noheader,nounits"]
_FP8_SINCE = 8.9


@dataclass(frozen=True)
class Gpu:
    """`memory_mib` in all; `compute_capability` such as 8.9; `driver` such as 560.35.03, empty where it is not told."""

    name: str
    memory_mib: int
    compute_capability: float
    driver: str = ""


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """In nvidia-smi's order, those of CUDA_VISIBLE_DEVICES; none where there is no driver."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return []
    asked = subprocess.run([program, *_QUERY], capture_output=True, text=True, check=False, env=dict(environment))
    rows = [line.split(", ") for line in asked.stdout.splitlines()] if asked.returncode == 0 else []
    gpus = [Gpu(name, int(memory), float(capability), *driver) for name, memory, capability, *driver in rows]
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    numbers = [int(part) for part in chosen.split(",") if part.strip().isdigit()]
    return [gpus[n] for n in numbers if n < len(gpus)] if numbers or not chosen.strip() else gpus


def check_gpus(build: Build, steps: list[Step], gpus: list[Gpu]) -> None:
    """Raises ConfigurationError when a step needs more GPUs than there are, or others."""
    for step in steps:
        if step.gpus > len(gpus):
            raise ConfigurationError(_too_few(build, step, len(gpus)))
    old = [gpu for gpu in gpus if gpu.compute_capability < _FP8_SINCE]
    if build.quantization == "fp8" and old and any(step.gpus for step in steps):
        raise ConfigurationError(
            f"build.quantization: fp8 needs compute capability {_FP8_SINCE} (Ada, Hopper or newer), and {old[0].name} has "
            f"{old[0].compute_capability}; give int8_weight_only or int4_awq"
        )


def _too_few(build: Build, step: Step, found: int) -> str:
    if step.name == "run" and found:
        return (
            f"step run: an engine for {step.gpus} GPUs (tp {build.tp} × pp {build.pp}) cannot run on {found}; "
            "build without the first run: --no-smoke-run"
        )
    return (
        f"step {step.name}: needs {step.gpus} GPU{'s' if step.gpus > 1 else ''} and nvidia-smi shows {found}; build on the "
        "machine that will serve, in a container with --gpus all"
    )
