"""Which TensorRT-LLM the server of this machine has, found without starting a Python that has it.

NVIDIA's image keeps it among the system's packages, which are not this environment's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from ..trtllm.tools.versions import RELEASES

_PACKAGES = ("/usr/local/lib", "/usr/lib")


def installed_version(environment: Mapping[str, str], packages: tuple[str, ...] = _PACKAGES) -> str | None:
    """Its package's version, else that of the image's release; None where neither is known."""
    for folder in packages:
        for found in sorted(Path(folder).glob("python3*/*-packages/tensorrt_llm-*.dist-info")):
            return re.sub(r"^tensorrt_llm-|\.dist-info$", "", found.name)
    image = environment.get("NVIDIA_TRITON_SERVER_VERSION", "")
    return next((f"{r.version}.0" for r in RELEASES.values() if r.image == image), None)
