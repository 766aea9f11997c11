"""Finds the version of TensorRT-LLM that is installed on this machine, without importing it.

NVIDIA's image has it among the system's Python packages, which are not those of this environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..trtllm.tools.versions import RELEASES

_PACKAGES = ("/usr/local/lib", "/usr/lib")


def installed_version(environment: Mapping[str, str], packages: tuple[str, ...] = _PACKAGES) -> str | None:
    """The package's version, or else that of the image's release; None when neither is known."""
    for folder in packages:
        for found in sorted(Path(folder).glob("python3*/*-packages/tensorrt_llm-*.dist-info")):
            return re.sub(r"^tensorrt_llm-|\.dist-info$", "", found.name)
    image = environment.get("NVIDIA_TRITON_SERVER_VERSION", "")
    return next((f"{r.version}.0" for r in RELEASES.values() if r.image == image), None)
