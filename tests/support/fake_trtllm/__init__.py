"""A fake TensorRT-LLM: its commands accept exactly the contract's flags and write the files that the real ones write.

    fake = install(folder, "0.14.0", gpus=2)      # bin/, examples/, a Python with the package tensorrt_llm
    subprocess.run([... "build" ...], env=fake.environment(build="hang"))

A step can be told to `fail`, `hang`, be `stubborn` against SIGTERM, `forget` a rank, be `killed` or fill the `disk` (tools.py).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.folders import ROOT

EXAMPLES = {"0.14": "qwen"}
_CORE = "models/core/qwen"


@dataclass(frozen=True)
class FakeTensorRtLlm:
    """An installation in `folder`."""

    folder: Path
    version: str

    @property
    def examples(self) -> Path:
        return self.folder / "examples"

    def environment(self, **faults: str) -> dict[str, str]:
        """The environment in which this TensorRT-LLM is the installed one; `faults`: {step: what it does wrong}."""
        return {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "FAKE_TRTLLM": json.dumps(faults)}


def install(folder: Path, version: str = "0.14.0", gpus: int = 2, capability: str = "8.0") -> FakeTensorRtLlm:
    """Writes the commands, scripts and the package of TensorRT-LLM `version`, and a driver that shows `gpus` GPUs."""
    site, examples = folder / "site", folder / "examples"
    info = site / f"tensorrt_llm-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: tensorrt_llm\nVersion: {version}\n")
    _script(folder / "bin/python3", f'PYTHONPATH={site}:{ROOT} exec {sys.executable} -S "$@"')
    _script(
        folder / "bin/trtllm-build", f'exec {folder}/bin/python3 -m tests.support.fake_trtllm.tools trtllm-build "$@"'
    )
    rows = "".join(f"echo 'NVIDIA A100-SXM4-80GB, 81920, {capability}'\n" for _ in range(gpus))
    _script(folder / "bin/nvidia-smi", rows)
    _script(folder / "bin/mpirun", f'exec {folder}/bin/python3 -m tests.support.fake_trtllm.mpirun "$@"')
    home = examples / EXAMPLES.get(".".join(version.split(".")[:2]), _CORE)
    scripts = {"convert_checkpoint": home, "quantize": examples / "quantization", "run": examples}
    for name, place in scripts.items():
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{name}.py").write_text(f"from tests.support.fake_trtllm.tools import main\n\nmain({name!r})\n")
    return FakeTensorRtLlm(folder, version)


def _script(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
