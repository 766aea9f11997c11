"""Two ranks under the real mpirun, a real tritonserver for each; the replay engine stands in for TensorRT-LLM's workers.

The deployment is one for NVIDIA's backend: the number of ranks comes from the engine's own config.json, the command
from the launcher. What is not NVIDIA's is the backend `tensorrtllm` (trtllm_standin/model.py).
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from qwen_triton_build.launch.installation import find_installation, prepare_backends
from tests.support.engine_folders import write_engine
from tests.support.folders import STANDINS
from tests.support.live.launches import Launch, gone, launched, wait_for

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(shutil.which("mpirun") is None, reason="no mpirun; scripts/install_mpi.sh installs Open MPI"),
]
MODELS = ("ensemble", "tensorrt_llm_bls")


def server_with_standin(folder: Path) -> Path:
    """tritonserver with a backend named `tensorrtllm` beside the Python one; returns its binary."""
    installation = find_installation()
    backends = folder / "backends"
    shutil.copytree(prepare_backends(installation, folder / "linked"), backends)
    (backends / "tensorrtllm").mkdir()
    shutil.copy(STANDINS / "trtllm_standin" / "model.py", backends / "tensorrtllm")
    (folder / "bin").mkdir()
    (folder / "bin" / "tritonserver").symlink_to(installation.binary)
    return folder / "bin" / "tritonserver"


@pytest.fixture
def launch(qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Launch]:
    server = tmp_path_factory.mktemp("server")
    engine = write_engine(tmp_path_factory.mktemp("engine"))
    deployment = {
        "model": str(qwen25_folder),
        "engine": {"kind": "tensorrtllm", "engine_dir": str(engine)},
        "repository": {"max_batch_size": 4},
        "openai": {"enabled": False},
        "server": {"tritonserver": str(server_with_standin(server))},
    }
    libraries = [
        *map(str, find_installation().libraries),
        sysconfig.get_config_var("LIBDIR"),
        os.environ.get("LD_LIBRARY_PATH"),
    ]
    flags = ("--ignore", "GPU driver")  # there is none here
    with launched(
        deployment, tmp_path, *flags, environment={"LD_LIBRARY_PATH": ":".join(filter(None, libraries))}
    ) as running:
        yield running


def test_rank_0_answers_and_sigterm_ends_all_ranks(launch: Launch) -> None:
    """The other rank holds its part and opens no port; exit code 0, nothing left."""
    for model in MODELS:
        body = json.dumps({"text_input": "hello there", "max_tokens": 8}).encode()
        with urllib.request.urlopen(f"{launch.url}/v2/models/{model}/generate", data=body, timeout=60) as reply:
            assert json.load(reply)["text_output"] == "hello there"
    assert "worker rank: holds a part" in (launch.folder / "log").read_text()
    processes = launch.descendants()
    assert launch.end() == 0, launch.errors
    assert gone(processes)
    assert launch.leftovers() == []


def test_a_killed_rank_ends_the_launch_with_code_1(launch: Launch) -> None:
    """A worker's death is not a server that stays up and answers nothing."""
    processes = launch.descendants()
    launch.find("tritonserver", "--load-model=tensorrt_llm", without="mpirun").kill()
    assert launch.process.wait(60) == 1
    assert "tritonserver (2 ranks under mpirun) ended with code 137" in launch.errors
    assert "mpirun noticed that process rank 1" in launch.errors
    wait_for(lambda: gone(processes))
    assert launch.leftovers() == []


def test_a_killed_mpirun_leaves_no_rank_behind(launch: Launch) -> None:
    """mpirun cannot end its ranks then; the launcher does."""
    processes = launch.descendants()
    launch.find("mpirun", "--allow-run-as-root").kill()
    assert launch.process.wait(60) == 1
    wait_for(lambda: gone(processes))
    assert launch.leftovers() == []


def test_a_killed_process_of_a_model_ends_all_ranks(launch: Launch) -> None:
    """mpirun and its ranks would go on; the model's lifeline tells the launcher, which ends them."""
    processes = launch.descendants()
    launch.find("triton_python_backend_stub", "/tensorrt_llm_bls/").kill()
    assert launch.process.wait(60) == 1
    assert "a process of the model tensorrt_llm_bls died, so tritonserver was killed" in launch.errors
    wait_for(lambda: gone(processes))
    assert launch.leftovers() == []
