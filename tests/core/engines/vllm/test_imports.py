"""What the engine's process imports: vLLM's interpreter need not have what the models have."""

from __future__ import annotations

import subprocess
import sys

from tests.support.folders import ROOT

ABSENT = ("tokenizers", "jinja2", "pydantic", "h2", "google", "grpc", "openvino_genai", "vllm")
PROGRAM = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}")

sys.meta_path.insert(0, Absent())
import qwen_triton.engines.process.main
import qwen_triton.engines.vllm.engine
print("imported")
"""


def test_the_engine_s_process_needs_numpy_and_msgpack_alone() -> None:
    """vLLM itself is imported when the engine is made."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT / "backend_src")},
    )
    assert (done.stdout, done.stderr) == ("imported\n", "")
