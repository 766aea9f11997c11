"""What stand-ins for GPU libraries share: they are written as packages into a folder, which an interpreter has on its path.

records.py goes into each of them, because it runs in the engine's process, which has nothing of the tests.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path


def write_package(package: Path, modules: dict[str, str], files: dict[str, Path]) -> None:
    """`modules`: {file of the package: its text}; `files`: {name in the package: what is copied there}, and records.py."""
    for module, text in modules.items():
        file = package / module
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        for parent in (package, *(package / above for above in Path(module).parents)):
            (parent / "__init__.py").touch()
    for name, source in {**files, "_records.py": Path(__file__).with_name("records.py")}.items():
        shutil.copy(source, package / name)


def write_metadata(folder: Path, library: str, version: str) -> None:
    """The version of a package in `folder`, as pip writes it."""
    metadata = folder / f"{library}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: {version}\n")


def write_adapter(folder: Path, **config: object) -> Path:
    """`folder`, with an adapter of rank 8 as PEFT saves one; its weights are empty. `config` changes adapter_config.json."""
    folder.mkdir(parents=True)
    plain = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(plain | config))
    (folder / "adapter_model.safetensors").touch()
    return folder


def write_interpreter(folder: Path, library: Path) -> Path:
    """A program that is this Python with `library` on its path: what the environment of a GPU engine is to a server."""
    program = folder / "python"
    program.write_text(f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{library}" exec {sys.executable} "$@"\n')
    program.chmod(0o755)
    return program


def forget(*libraries: str) -> None:
    """Forgets imported stand-ins, so that another test imports its own."""
    for name in [name for name in sys.modules if name.split(".")[0] in libraries]:
        del sys.modules[name]
