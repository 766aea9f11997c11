"""The manifest of a build: hashes of the inputs, versions, commands and times, from which follows which steps are done.

It lies beside the engine, in ENGINE.build/manifest.json, with a log for each step. The fingerprint of a step is the hash
of its command, of TensorRT-LLM's version and of its inputs: the model's files or the fingerprint of the step before.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..plan.steps import Step, StepName

_BLOCK = 8 << 20


def state_folder(engine_dir: Path) -> Path:
    """Where the manifest, the logs and the lock of an engine's build are."""
    return engine_dir.with_name(f"{engine_dir.name}.build")


@dataclass
class Manifest:
    """State of a build; `record` writes it to disk."""

    file: Path
    model: dict[str, Any] = field(default_factory=dict)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    trtllm_version: str = ""

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a state folder; an empty one when there is none, or none that can be read."""
        file = folder / "manifest.json"
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            return cls(file, dict(data["model"]), dict(data["steps"]), str(data["tensorrt_llm"]))
        except (OSError, ValueError, KeyError, TypeError):
            return cls(file)

    def is_done(self, name: StepName, fingerprint: str) -> bool:
        entry = self.steps.get(name, {})
        return bool(entry.get("outcome") == "done" and entry.get("fingerprint") == fingerprint)

    def record(self, name: StepName, entry: Mapping[str, Any]) -> None:
        """Sets a step's entry and replaces the file atomically."""
        self.steps[name] = dict(entry)
        data = {
            "qwen_triton": version("qwen-triton"),
            "tensorrt_llm": self.trtllm_version,
            "model": self.model,
            "steps": self.steps,
        }
        temporary = self.file.with_suffix(".tmp")
        temporary.write_text(json.dumps(data, indent=1, ensure_ascii=False), encoding="utf-8")
        os.replace(temporary, self.file)

    def hash_model(self, folder: Path, on_file: Callable[[str], None] = lambda _: None) -> None:
        """Sets the SHA-256 of each file of the checkpoint; a file with unchanged size and time is not read again."""
        known = self.model.get("files", {}) if self.model.get("folder") == str(folder) else {}
        files = {}
        for file in sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")):
            state = file.stat()
            stamp = {"bytes": state.st_size, "mtime_ns": state.st_mtime_ns}
            entry = known.get(file.name, {})
            if any(entry.get(key) != value for key, value in stamp.items()):
                on_file(file.name)
                entry = {"sha256": _sha256(file), **stamp}
            files[file.name] = entry
        self.model = {"folder": str(folder), "files": files}

    def fingerprint(self, step: Step, before: str) -> str:
        """`before`: the fingerprint of the step before, "" for the first, which reads the model."""
        inputs = before or {name: entry["sha256"] for name, entry in self.model["files"].items()}
        text = json.dumps([list(step.command), self.trtllm_version, inputs, *_given(step.environment)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def _given(environment: Mapping[str, str]) -> list[dict[str, str]]:
    """A step without variables of its own has the fingerprint of its command alone."""
    return [dict(environment)] if environment else []


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
