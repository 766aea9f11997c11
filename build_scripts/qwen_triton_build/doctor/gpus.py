"""The GPUs of this machine, as NVIDIA's own tool lists them."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

_QUERY = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Gpu:
    """`driver` as 560.35.03; memory in MiB."""

    name: str
    memory_mib: int
    driver: str


def find_gpus() -> list[Gpu]:
    """In the order of their indices; empty where there is no driver."""
    try:
        listed = subprocess.run(_QUERY, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [_gpu(line) for line in listed.splitlines() if line.count(",") == 2]


def _gpu(line: str) -> Gpu:
    name, memory, driver = (part.strip() for part in line.split(","))
    return Gpu(name, int(memory), driver)
