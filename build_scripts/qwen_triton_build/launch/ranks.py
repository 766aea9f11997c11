"""A multi-GPU engine needs one tritonserver for each rank, joined by MPI: the command, and who of its processes is who.

    mpirun --allow-run-as-root  -n 1 tritonserver …rank 0…  :  -n 1 tritonserver …rank 1…  :

Rank 0 loads the whole repository and takes requests. The other ranks load the engine alone; its initialisation does not
return there, so that they never open the ports which they are given as well.
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

    mpirun is called by its bare name: called by its path, it puts its own folder before ours in the ranks' PATH, and
    Triton's Python stub takes its environment from there.
    """
    command = ["mpirun", "--allow-run-as-root", *(["--oversubscribe"] if _scarce(ranks) else [])]
    for rank in range(ranks):
        command += ["-n", "1", *server(rank), ":"]
    return command


def _scarce(ranks: int) -> bool:
    """Whether mpirun may count fewer slots than ranks: it counts cores, we see hardware threads, two to a core."""
    return ranks > (os.cpu_count() or 1) // 2


def rank_processes(shm_prefix: str) -> dict[int, int]:
    """{rank: process id} of the servers with this shared-memory prefix that run now, whoever their parent is."""
    pattern = re.compile(rf"--.*={re.escape(shm_prefix)}(\d+)_")
    found = {}
    for pid, arguments in _command_lines():
        ranks = [int(match[1]) for a in arguments if (match := pattern.fullmatch(a))]
        if len(ranks) == 1:  # mpirun's own command line names them all
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
