"""Requirements of a build on this machine: programs and scripts, GPUs, disk space. Checked before its first step runs.

Knows the steps of a plan, not how they are run. Every check raises ConfigurationError with the remedy.
"""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ...deployment.build_section import Build
from ..gpus import Gpu
from ..plan.checkpoint_facts import CheckpointFacts
from ..plan.quantization import BITS
from ..plan.steps import Step

_MARGIN = 1.05
_SPARE = 64 << 20
_GIB = 1 << 30
_USUAL_TEXTS = "cnn_dailymail"
"""The data set that TensorRT-LLM's tools take where none is given."""
_OFFLINE = ("HF_DATASETS_OFFLINE", "HF_HUB_OFFLINE")
_FP8_SINCE = 8.9
"""Compute capability of Ada, the first with FP8 arithmetic."""


def check_commands(steps: list[Step], environment: Mapping[str, str]) -> None:
    """Raises ConfigurationError for the first program or script of the steps that is not there."""
    for step in steps:
        program = step.command[0]
        if shutil.which(program, path=environment["PATH"]) is None:
            remedy = "apt-get install openmpi-bin" if program == "mpirun" else "it comes with tensorrt_llm"
            raise ConfigurationError(f"{program}: not found in PATH, and step {step.name} needs it; {remedy}")
        scripts = [word for word in step.command if word.endswith(".py")][:1]
        if scripts and step.folder is not None and not (step.folder / scripts[0]).is_file():
            raise ConfigurationError(
                f"build.examples: no {scripts[0]} in {step.folder}, and step {step.name} needs it; get TensorRT-LLM's "
                "examples as a whole"
            )


def check_calibration(build: Build, steps: list[Step], environment: Mapping[str, str]) -> None:
    """Raises ConfigurationError where a step is calibrated and its texts are neither here nor can be fetched."""
    if not any(step.name == "convert" and step.gpus for step in steps):
        return
    given = str(build.calib_dataset or build.convert_flags.get("calib_dataset", ""))
    if given.startswith("/"):
        if not Path(given).is_dir():
            raise ConfigurationError(f"build.calib_dataset: {given} is no folder; give one that `datasets` can load")
    elif offline := next((name for name in _OFFLINE if environment.get(name, "0") not in ("", "0")), None):
        raise ConfigurationError(
            f"build.calib_dataset: this build is calibrated with texts of {given or _USUAL_TEXTS}, and {offline} forbids to "
            "fetch them; give a folder with a data set"
        )


def check_gpus(build: Build, steps: list[Step], gpus: list[Gpu]) -> None:
    """Raises ConfigurationError when a step needs more GPUs than there are, or others."""
    for step in steps:
        if step.gpus > len(gpus):
            raise ConfigurationError(_too_few(build, step, len(gpus)))
    old = [gpu for gpu in gpus if gpu.compute_capability < _FP8_SINCE]
    if build.quantization == "fp8" and old and any(step.gpus for step in steps):
        raise ConfigurationError(
            f"build.quantization: fp8 needs compute capability {_FP8_SINCE} (Ada, Hopper or newer), and {old[0].name} has "
            f"{old[0].compute_capability}; give int8_weight_only or int4_awq"
        )


def _too_few(build: Build, step: Step, found: int) -> str:
    if step.name == "run" and found:
        return (
            f"step run: an engine for {step.gpus} GPUs (tp {build.tp} × pp {build.pp}) cannot run on {found}; "
            "build without the first run: --no-smoke-run"
        )
    return (
        f"step {step.name}: needs {step.gpus} GPU{'s' if step.gpus > 1 else ''} and nvidia-smi shows {found}; build on the "
        "machine that will serve, in a container with --gpus all"
    )


def checkpoint_bytes(build: Build, facts: CheckpointFacts) -> int:
    """Estimated size of a converted checkpoint, which is about that of its engine. Embeddings and head stay 16-bit."""
    if facts.quantized_by is not None:
        return facts.weight_bytes
    plain = 2 if build.dtype == "float32" else 1
    bits = BITS.get(build.quantization)
    if bits is None:
        return facts.weight_bytes * plain
    kept = min(facts.weight_bytes, 2 * facts.vocab_size * facts.hidden_size * 2)
    return kept + (facts.weight_bytes - kept) * bits // 16


def check_disk(outputs: list[Path], each: int) -> None:
    """Raises ConfigurationError when the file systems of `outputs` lack room for `each` bytes a folder."""
    needed: dict[Path, int] = defaultdict(int)
    for output in outputs:
        needed[_mount(output)] += int(each * _MARGIN) + _SPARE
    for mount, size in needed.items():
        free = shutil.disk_usage(mount).free
        if free < size:
            raise ConfigurationError(
                f"{mount}: {free / _GIB:.1f} GiB are free, and this build writes about {size / _GIB:.1f} GiB there; make "
                "room, or give other folders (engine.engine_dir, build.checkpoint_dir)"
            )


def _mount(path: Path) -> Path:
    """The mount point of the file system that `path` is on, or will be."""
    while not path.exists():
        path = path.parent
    device = path.stat().st_dev
    while path != path.parent and path.parent.stat().st_dev == device:
        path = path.parent
    return path
