"""llama-index-llms-nvidia-triton against our ensemble and BLS, as its users call it.

It comes with fifty packages of its own, so it lives in an environment of its own, made once in `.cache/`.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from qwen_triton.tensors.contract import BLS, ENSEMBLE
from tests.support.live.servers import LiveServer
from tests.support.live.tool_environment import tool_environment

pytestmark = pytest.mark.live

VERSION = "0.6.0"
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
    package = f"llama-index-llms-nvidia-triton=={VERSION}"
    return tool_environment(f"llama-index-{VERSION}", package) / "bin" / "python"


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
