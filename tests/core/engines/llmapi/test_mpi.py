"""What workers must not inherit: the variables of another MPI job, and descriptors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from qwen_triton.engines.llmapi.mpi import leave_job, withhold_descriptors


def test_variables_of_a_job_go_and_settings_stay() -> None:
    job = {
        "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2", "OMPI_UNIVERSE_SIZE": "2", "OMPI_MCA_orte_tmpdir_base": "/t",
        "ORTE_SCHIZO": "x", "PMIX_RANK": "1", "PMIX_SERVER_URI2": "u", "PMI_FD": "9",
    }  # fmt: skip
    settings = {"OMPI_MCA_btl": "self,tcp", "PMIX_MCA_gds": "hash", "OMPI_ALLOW_RUN_AS_ROOT": "1", "PATH": "/bin"}
    environment = {**job, **settings}
    assert leave_job(environment) == sorted(job)
    assert environment == settings


def test_a_descriptor_that_was_for_children_is_no_more(tmp_path: Path) -> None:
    """As the lock of the model's folder, which the engine's process got from the model."""
    (tmp_path / "lock").touch()
    lock = os.open(tmp_path / "lock", os.O_RDONLY)
    os.set_inheritable(lock, True)
    withhold_descriptors()
    script = f"import os; print(os.path.exists('/proc/self/fd/{lock}'))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], close_fds=False, capture_output=True, text=True, check=True
    )
    os.close(lock)
    assert done.stdout == "False\n"
