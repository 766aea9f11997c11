"""Lists the GPUs of this machine with nvidia-smi. Knows no build and no engine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

_QUERY = ["--query-gpu=name,memory.total,compute_cap,driver_version,memory.free", "--format=csv,noheader,nounits"]


@dataclass(frozen=True)
class Gpu:
    """`memory_mib` in all, 0 when unknown, as of memory that GPU and machine share; `compute_capability` such as 8.9;
    `driver` such as 560.35.03, empty when unknown.

    `free_mib`: memory that no process has; None when unknown.
    """

    name: str
    memory_mib: int
    compute_capability: float
    driver: str = ""
    free_mib: int | None = None


def visible_gpus(environment: Mapping[str, str] = os.environ) -> list[Gpu]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves, in nvidia-smi's order; none without a driver."""
    program = shutil.which("nvidia-smi", path=environment.get("PATH"))
    if program is None:
        return []
    result = subprocess.run([program, *_QUERY], capture_output=True, text=True, check=False, env=dict(environment))
    rows = [line.split(", ") for line in result.stdout.splitlines()] if result.returncode == 0 else []
    gpus = [_gpu(*row) for row in rows]
    chosen = environment.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return gpus
    numbers = [int(part) for part in chosen.split(",") if part.strip().isdigit()]
    return [gpus[n] for n in numbers if n < len(gpus)] if numbers or not chosen.strip() else gpus


def _gpu(name: str, memory: str, capability: str, driver: str = "", free: str = "") -> Gpu:
    total = int(memory) if memory.isdigit() else 0
    return Gpu(name, total, float(capability), driver, int(free) if free.isdigit() else None)
