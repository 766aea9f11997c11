"""Sheds what workers that TensorRT-LLM starts by MPI must not inherit from the engine's process.

The workers are a job of their own. Where tritonserver itself was started by mpirun or srun, variables of that job would make
Open MPI join it; and workers inherit every descriptor that is marked so, such as the lock of the model's folder. Settings of
MPI (OMPI_MCA_…, PMIX_MCA_…) are the operator's and stay.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import MutableMapping

_JOB = (
    "OMPI_COMM_WORLD_", "OMPI_UNIVERSE_SIZE", "OMPI_FIRST_RANKS", "OMPI_APP_CTX_NUM_PROCS", "OMPI_MCA_orte_", "ORTE_",
    "PMIX_", "PMI_",
)  # fmt: skip
"""Beginnings of the names of variables that say which job a process is in."""
_SETTINGS = ("PMIX_MCA_",)


def leave_job(environment: MutableMapping[str, str]) -> list[str]:
    """Removes the variables of an MPI job; returns their names."""
    left = sorted(name for name in environment if name.startswith(_JOB) and not name.startswith(_SETTINGS))
    for name in left:
        del environment[name]
    return left


def withhold_descriptors() -> None:
    """From here on programs that this process starts inherit standard input, output and error alone."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # that of the listing itself is closed by now
            if int(name) > 2:
                os.set_inheritable(int(name), False)
