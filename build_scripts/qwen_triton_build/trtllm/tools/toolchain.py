"""Finds TensorRT-LLM on this machine: a Python that has it, its version, and its example scripts.

NVIDIA's image has it in the system's Python while `qwen-triton` runs in its own environment, so every python3 in PATH is
tried, not the one that runs this.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ...deployment.build_section import Build
from .versions import Release, Version, release_of

_VERSION_CODE = "import importlib.metadata as m; print(m.version('tensorrt_llm'))"
_EXAMPLES = ("/tensorrtllm_backend/tensorrt_llm/examples", "/app/tensorrt_llm/examples", "/TensorRT-LLM/examples")


@dataclass(frozen=True)
class Installed:
    """A Python with tensorrt_llm, and that package's version."""

    python: Path
    version: str


def find_installed(build: Build, environment: Mapping[str, str] = os.environ) -> Installed | None:
    """`build.python`, else the first python3 in PATH that has tensorrt_llm; None when there is none."""
    for python in _pythons(build, environment):
        result = subprocess.run(
            [str(python), "-c", _VERSION_CODE], capture_output=True, text=True, check=False, env=dict(environment)
        )
        if result.returncode == 0 and result.stdout.strip():
            return Installed(python, result.stdout.split()[-1])
    return None


def _pythons(build: Build, environment: Mapping[str, str]) -> Iterator[Path]:
    if build.python is not None:
        if not os.access(build.python, os.X_OK):
            raise ConfigurationError(f"build.python: {build.python} is not an executable file")
        yield build.python
        return
    folders = [*environment.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    for folder in dict.fromkeys(filter(None, folders)):
        if os.access(Path(folder) / "python3", os.X_OK):
            yield Path(folder) / "python3"


def choose_release(build: Build, installed: Installed | None) -> Release:
    """The release that `build` names, or else the installed one. Raises ConfigurationError for neither, or when they differ."""
    if build.trtllm_version is None:
        if installed is None:
            raise ConfigurationError(
                "no Python in PATH has tensorrt_llm; build in the image nvcr.io/nvidia/tritonserver:24.10-trtllm-python-py3, "
                "or give build.trtllm_version to see the commands with --dry-run"
            )
        return release_of(installed.version)
    release = release_of(build.trtllm_version)
    if installed is not None and Version.parse(installed.version) != release.version:
        raise ConfigurationError(
            f"build.trtllm_version: {build.trtllm_version}, but {installed.python} has TensorRT-LLM {installed.version}; an "
            f"engine runs only where it was built: use the image {release.image}-trtllm-python-py3, or leave the key out"
        )
    return release


def find_examples(build: Build, release: Release) -> Path:
    """TensorRT-LLM's examples/ with this release's scripts. Raises ConfigurationError with the command that gets them."""
    candidates = [build.examples] if build.examples is not None else [Path(p) for p in _EXAMPLES]
    found = next((p for p in candidates if (p / release.examples / "convert_checkpoint.py").is_file()), None)
    if found is None:
        raise ConfigurationError(
            f"build.examples: no {release.examples}/convert_checkpoint.py in {', '.join(map(str, candidates))}; get it: git "
            f"clone -b {release.tag} https://github.com/NVIDIA/TensorRT-LLM.git, and give its folder examples"
        )
    return found


def step_environment(installed: Installed, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Environment variables of the steps: `python3` is the one that has tensorrt_llm, not that of this environment."""
    kept = {k: v for k, v in environment.items() if k not in ("VIRTUAL_ENV", "PYTHONHOME")}
    return {**kept, "PATH": f"{installed.python.parent}{os.pathsep}{environment.get('PATH', '')}"}
