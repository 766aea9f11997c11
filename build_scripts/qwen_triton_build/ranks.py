"""A multi-GPU engine needs one tritonserver for each rank, joined by MPI: the command, and who of its processes is who.

    mpirun --allow-run-as-root  -n 1 tritonserver …rank 0…  :  -n 1 tritonserver …rank 1…  :

Rank 0 loads the whole repository and takes requests. The other ranks load the engine alone; its initialisation does not
return there, so that they never open the ports which they are given as well.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

from qwen_triton.errors import ConfigurationError

REMEDY = "install Open MPI (Debian, Ubuntu: apt-get install openmpi-bin; NVIDIA's trtllm image has it)"


def find_mpirun() -> str:
    """Raises ConfigurationError with the remedy when there is none."""
    found = shutil.which("mpirun")
    if found is None:
        raise ConfigurationError(f"mpirun: not found, and this engine needs one rank per GPU; {REMEDY}")
    return found


def mpirun_command(mpirun: str, ranks: int, server: Callable[[int], list[str]]) -> list[str]:
    """One launch of `ranks` servers; `server(rank)` is a rank's command line."""
    command = [mpirun, "--allow-run-as-root", *(["--oversubscribe"] if _scarce(ranks) else [])]
    for rank in range(ranks):
        command += ["-n", "1", *server(rank), ":"]
    return command


def _scarce(ranks: int) -> bool:
    """Whether mpirun may count fewer slots than ranks: it counts cores, we see hardware threads, two to a core."""
    return ranks > (os.cpu_count() or 1) // 2


def rank_processes(shm_prefix: str) -> dict[int, int]:
    """{rank: process id} of the servers with this shared-memory prefix that run now, whoever their parent is."""
    found = {}
    for process in Path("/proc").iterdir():
        ranks = _ranks(process, shm_prefix) if process.name.isdigit() else []
        if len(ranks) == 1:  # mpirun's own command line names them all
            found[ranks[0]] = int(process.name)
    return found


def _ranks(process: Path, shm_prefix: str) -> list[int]:
    try:
        arguments = (process / "cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []
    return [int(found[1]) for a in arguments if (found := re.fullmatch(rf"--.*={re.escape(shm_prefix)}(\d+)_", a))]
