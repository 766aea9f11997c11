"""Launch of a multi-GPU engine: one tritonserver for each rank under mpirun, and which process is which rank.

    mpirun --allow-run-as-root  -n 1 tritonserver …rank 0…  :  -n 1 tritonserver …rank 1…  :

Rank 0 loads the whole repository and serves requests. The other ranks load the engine only; its initialisation does not
return there, so they never open their ports, which are the same as rank 0's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..deployment.engine_sections import TensorRtLlmSection
from ..deployment.schema import Deployment
from ..trtllm.built_engine import BuiltEngine

REMEDY = "install Open MPI (Debian, Ubuntu: apt-get install openmpi-bin; NVIDIA's trtllm image has it)"


def check_mpirun() -> None:
    """Raises ConfigurationError with the remedy when there is none."""
    if shutil.which("mpirun") is None:
        raise ConfigurationError(f"mpirun: not found, and this engine needs one rank per GPU; {REMEDY}")


def mpirun_command(ranks: int, server: Callable[[int], list[str]]) -> list[str]:
    """One launch of `ranks` servers; `server(rank)` is a rank's command line.

    mpirun is called by its bare name: called by its path, it would put its folder first in the ranks' PATH, from which
    Triton's Python stub takes its environment.
    """
    command = ["mpirun", "--allow-run-as-root", *(["--oversubscribe"] if _scarce(ranks) else [])]
    for rank in range(ranks):
        command += ["-n", "1", *server(rank), ":"]
    return command


def _scarce(ranks: int) -> bool:
    """Whether mpirun may have fewer slots than ranks: it counts cores, and a core has up to two of the CPUs counted here."""
    return ranks > (os.cpu_count() or 1) // 2


def rank_processes(shm_prefix: str) -> dict[int, int]:
    """{rank: process id} of the running servers with this shared-memory prefix, whatever their parent."""
    pattern = re.compile(rf"--.*={re.escape(shm_prefix)}(\d+)_")
    found = {}
    for pid, arguments in _command_lines():
        ranks = [int(match[1]) for a in arguments if (match := pattern.fullmatch(a))]
        if len(ranks) == 1:  # mpirun's own command line names all ranks
            found[ranks[0]] = pid
    return found


def region_users(shm_prefix: str) -> list[int]:
    """The process ids of all servers and stubs that were given regions with this prefix; mpirun's among them."""
    return [pid for pid, arguments in _command_lines() if any(shm_prefix in a for a in arguments)]


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(process.name), (process / "cmdline").read_text(errors="replace").split("\0")


def ranks(deployment: Deployment) -> int:
    """How many tritonservers the engine needs: one per GPU that it was built for."""
    engine = deployment.engine
    return BuiltEngine.read(engine.engine_dir).world_size if isinstance(engine, TensorRtLlmSection) else 1
