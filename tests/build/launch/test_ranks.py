"""One rank per GPU: our command against what NVIDIA's own launch script runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qwen_triton.errors import ConfigurationError
from qwen_triton_build.deployment.schema import Server
from qwen_triton_build.launch import ranks
from qwen_triton_build.launch.ranks import check_mpirun, mpirun_command, rank_processes, region_users
from qwen_triton_build.launch.tritonserver import command_line
from tests.support.folders import CONTRACT
from tests.support.live.waiting import becomes

UPSTREAM: dict[str, Any] = json.loads((CONTRACT / "launch_commands.json").read_text())
OURS = ("--backend-directory", "--http-address", "--grpc-address", "--metrics-address", "--exit-timeout-secs",
        "--strict-readiness")  # fmt: skip
"""What we say beyond upstream: where to listen, how long to drain."""
START_S = 10.0
"""The kernel shows a child's command line a moment after Popen returns; a busy machine makes the moment longer."""


def command(world_size: int, **ports: int) -> list[str]:
    settings = Server(**ports)

    def server(rank: int) -> list[str]:
        binary = Path("/opt/tritonserver/bin/tritonserver")
        return command_line(settings, Path("/repo"), Path("/backends"), binary, "prefix", rank)

    return mpirun_command(world_size, server)


def without_ours(arguments: list[str]) -> list[str]:
    return [a for a in arguments if not a.startswith(OURS)]


@pytest.fixture(autouse=True)
def _enough_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks.os, "cpu_count", lambda: 64)


def test_two_ranks_are_started_as_upstream_starts_them() -> None:
    """Word for word: the arguments, their order, a colon after every rank."""
    assert without_ours(command(2)) == UPSTREAM["v0.14.0"]["world_size_2"]["cmd"]


def test_ports_can_be_set_and_are_the_same_for_all_ranks() -> None:
    """The blog's 18000, 18001, 18002; only rank 0 ever opens them."""
    line = command(2, http_port=18000, grpc_port=18001, metrics_port=18002)
    assert [
        line.count(f"--{kind}-port={port}") for kind, port in (("http", 18000), ("grpc", 18001), ("metrics", 18002))
    ] == [
        2,
        2,
        2,
    ]


def test_each_rank_has_shared_memory_regions_of_its_own() -> None:
    """Four ranks on a host do not meet in /dev/shm."""
    prefixes = [a for a in command(4) if a.startswith("--backend-config=python")]
    assert prefixes == [f"--backend-config=python,shm-region-prefix-name=prefix{rank}_" for rank in range(4)]


def test_more_ranks_than_cores_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """mpirun would refuse: «not enough slots»."""
    monkeypatch.setattr(ranks.os, "cpu_count", lambda: 2)
    assert command(2)[:3] == ["mpirun", "--allow-run-as-root", "--oversubscribe"]


def test_a_missing_mpirun_is_told_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ConfigurationError, match=r"mpirun: not found.*openmpi-bin"):
        check_mpirun()


def test_ranks_are_found_by_their_regions_name_and_mpirun_is_none_of_them() -> None:
    """Also when nobody remembers their process ids."""
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    prefix = f"qwen_test_{os.getpid()}_"  # this run's own: another run on the machine must not be found
    name = f"--backend-config=python,shm-region-prefix-name={prefix}"
    processes = [
        subprocess.Popen([*sleep, *names]) for names in ([f"{name}0_"], [f"{name}1_"], [f"{name}0_", f"{name}1_"])
    ]
    try:
        started = sorted(process.pid for process in processes)
        assert becomes(lambda: sorted(region_users(prefix)) == started, START_S)
        assert rank_processes(prefix) == {0: processes[0].pid, 1: processes[1].pid}
        assert rank_processes(f"other_{os.getpid()}_") == {}
    finally:
        for process in processes:
            process.kill()
            process.wait()
