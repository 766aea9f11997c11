"""Room for what a build writes: estimated from the size of the weights, compared with what is free."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path

from qwen_triton.errors import ConfigurationError

from ..deployment.build_section import Build
from .model_facts import ModelFacts
from .quantization import BITS

_MARGIN = 1.05
_SPARE = 64 << 20
_GIB = 1 << 30


def checkpoint_bytes(build: Build, facts: ModelFacts) -> int:
    """About what a converted checkpoint takes, and about what its engine takes. Embeddings and head stay 16-bit."""
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
    for place, size in needed.items():
        free = shutil.disk_usage(place).free
        if free < size:
            raise ConfigurationError(
                f"{place}: {free / _GIB:.1f} GiB are free, and this build writes about {size / _GIB:.1f} GiB there; make "
                "room, or give other folders (engine.engine_dir, build.checkpoint_dir)"
            )


def _mount(path: Path) -> Path:
    """The top of the file system that `path` is on, or will be."""
    while not path.exists():
        path = path.parent
    device = path.stat().st_dev
    while path != path.parent and path.parent.stat().st_dev == device:
        path = path.parent
    return path
