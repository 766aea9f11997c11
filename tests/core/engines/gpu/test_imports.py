"""What the engine's process imports: the interpreter of a GPU library need not have what the models have."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.folders import ROOT

ABSENT = ("tokenizers", "jinja2", "pydantic", "h2", "google", "grpc", "openvino_genai", "vllm", "tensorrt_llm", "torch")
PROGRAM = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in %r:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Absent())
import qwen_triton.engines.process.main
import qwen_triton.engines.%s.engine
print("imported")
"""


@pytest.mark.parametrize("kind", ["llmapi", "vllm"])
def test_the_engine_s_process_needs_numpy_and_msgpack_alone(kind: str) -> None:
    """The library itself is imported when the engine is made."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM % (ABSENT, kind)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / "backend_src")},
    )
    assert (done.stdout, done.stderr) == ("imported\n", "")
