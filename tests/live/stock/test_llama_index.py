"""llama-index-llms-nvidia-triton against our ensemble and BLS, as its users call it.

It comes with fifty packages of its own, so it lives in an environment of its own, made once in `.cache/`.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.support.folders import ROOT
from tests.support.live.servers import LiveServer

pytestmark = pytest.mark.live

VERSION = "0.6.0"
HOME = ROOT / ".cache" / f"llama-index-{VERSION}-{sys.version_info[0]}.{sys.version_info[1]}"
INSTALL_S = 500.0
RUN_S = 100.0
PROGRAM = """
import json, sys
from llama_index.llms.nvidia_triton import NvidiaTriton

url, model, prompt = sys.argv[1:]
llm = NvidiaTriton(server_url=url, model_name=model, tokens=40)
pieces = [piece.delta for piece in llm.stream_complete(prompt)]
print(json.dumps({"whole": llm.complete(prompt).text, "pieces": pieces}))
"""


@pytest.fixture(scope="module")
def python() -> Path:
    """The interpreter of its environment; installed where it is not yet."""
    done = HOME / "installed"
    if not done.exists():
        venv.create(HOME, clear=True, with_pip=True)
        pip = [str(HOME / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
        packages = [f"llama-index-llms-nvidia-triton=={VERSION}"]
        made = subprocess.run(
            [*pip, "install", "--no-compile", *packages], capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
        assert made.returncode == 0, made.stderr[-4000:]
        done.touch()
    return HOME / "bin" / "python"


@pytest.mark.parametrize("model", [ENSEMBLE, BLS])
def test_llama_index_completes(python: Path, replay_server: LiveServer, model: str) -> None:
    """The engine repeats the prompt: the whole of it, and in pieces. Its settings are those that the package sends unasked."""
    prompt = "你好，你叫什么名字 👩‍👩‍👧"
    line = [str(python), "-c", PROGRAM, replay_server.grpc, model, prompt]
    done = subprocess.run(line, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert told["whole"] == "".join(told["pieces"]) == prompt
    assert len(told["pieces"]) > 2
