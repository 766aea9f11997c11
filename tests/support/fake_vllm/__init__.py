"""A vLLM that computes nothing: exactly the names that engines/vllm touches, with the fields of the real releases.

`write_fake_vllm` makes a folder for PYTHONPATH. The fields and signatures are data (tests/data/vllm), read from the real
0.26.0 and 0.33.0: a keyword that a release does not take is a TypeError here too. What it answers is in library.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.support.folders import DATA
from tests.support.gpu_library import write_metadata, write_package

VERSIONS = ("0.26.0", "0.33.0")
_MODULES = {
    "engine/arg_utils.py": "EngineArgs",
    "config/__init__.py": "StructuredOutputsConfig",
    "lora/request.py": "LoRARequest",
    "sampling_params.py": "SamplingParams, StructuredOutputsParams",
    "usage/usage_lib.py": "UsageContext",
    "v1/engine/__init__.py": "EngineCoreRequest",
    "v1/engine/core_client.py": "EngineCoreClient",
    "v1/executor/__init__.py": "Executor",
    "v1/structured_output/backend_xgrammar.py": "validate_xgrammar_grammar",
}


def write_fake_vllm(folder: Path, version: str = "0.26.0") -> Path:
    """`folder`, with a package `vllm` of that version that can be imported from it."""
    here = Path(__file__).parent
    names = DATA / "vllm" / f"{version if version in VERSIONS else VERSIONS[0]}.json"
    modules = {
        module: f"from vllm._library import {', '.join(f'{one} as {one}' for one in name.split(', '))}\n"
        for module, name in _MODULES.items()
    }
    files = {f"_{module}.py": here / f"{module}.py" for module in ("library", "startup")}
    write_package(folder / "vllm", modules, {**files, "names.json": names})
    write_metadata(folder, "vllm", version)
    return folder


def write_fake_front(folder: Path) -> Path:
    """Adds to a fake vLLM what a user of vLLM alone has: `LLM`, and its OpenAI server `vllm.entrypoints.cli.main`."""
    package = folder / "vllm"
    (package / "entrypoints" / "cli").mkdir(parents=True)
    for parent in ("entrypoints", "entrypoints/cli"):
        (package / parent / "__init__.py").touch()
    (package / "__init__.py").write_text(
        "from vllm._front import LLM as LLM\nfrom vllm._library import SamplingParams as SamplingParams\n"
    )
    (package / "entrypoints" / "cli" / "main.py").write_text("from vllm._front import main\n\nmain()\n")
    shutil.copy(Path(__file__).with_name("front.py"), package / "_front.py")
    return folder
