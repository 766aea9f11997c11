"""A vLLM that computes nothing: exactly the names that engines/vllm touches, with the fields of the real releases.

`write_fake_vllm` makes a folder for PYTHONPATH. The fields and signatures are data (tests/data/vllm), read from the real
0.26.0 and 0.33.0: a keyword that a release does not take is a TypeError here too. What it answers is in library.py.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tests.support.folders import DATA

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
    package = folder / "vllm"
    for module, name in _MODULES.items():
        file = package / module
        file.parent.mkdir(parents=True, exist_ok=True)
        names = ", ".join(f"{one} as {one}" for one in name.split(", "))
        file.write_text(f"from vllm._library import {names}\n")
    for parent in ("", "engine", "lora", "usage", "v1", "v1/structured_output"):
        (package / parent / "__init__.py").touch()
    for module in ("library", "startup"):
        shutil.copy(Path(__file__).with_name(f"{module}.py"), package / f"_{module}.py")
    shutil.copy(DATA / "vllm" / f"{version if version in VERSIONS else VERSIONS[0]}.json", package / "names.json")
    metadata = folder / f"vllm-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n")
    return folder


def write_adapter(folder: Path, **config: object) -> Path:
    """`folder`, with an adapter of rank 8 as PEFT saves one; its weights are empty. `config` changes adapter_config.json."""
    folder.mkdir(parents=True)
    plain = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(plain | config))
    (folder / "adapter_model.safetensors").touch()
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


def write_interpreter(folder: Path, library: Path) -> Path:
    """A program that is this Python with `library` on its path: what the environment of a GPU engine is to a server."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{library}" exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program
