"""Converts a dense Qwen checkpoint to a folder that openvino-genai loads, and caches the result.

python -m qwen_triton.engines.openvino.convert CHECKPOINT --weights int8 --output DIR
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import openvino as ov

from ...checkpoint.weights import Checkpoint
from ...errors import ConfigurationError, QwenTritonError
from .architecture import DenseQwen
from .grammars.vocabulary import ensure_vocabulary
from .graph import GraphBuilder
from .weight_nodes import WEIGHT_FORMATS, WeightFormat, WeightNodes, mark_decompression

VERSION = 1
"""Part of the cache key; raise it with every change of a conversion's output."""

Report = Callable[[str], None]
"""Receives one line of progress."""
_log = logging.getLogger(__name__)


def default_cache() -> Path:
    """The user's cache folder for conversions; `conversion_cache` overrides it."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "qwen-triton" / "openvino"


def convert_cached(folder: Path, weights: WeightFormat, cache: Path | None = None, report: Report = _log.info) -> Path:
    """The converted model of a checkpoint folder, from `cache` or converted now.

    Safe across processes: one converts, the others wait for its lock. An interrupted conversion is never used.
    Raises ConfigurationError for a checkpoint that is damaged or not covered.
    """
    checkpoint = Checkpoint.open(folder)
    target = (cache or default_cache()) / f"{folder.resolve().name}-{weights}-{fingerprint(checkpoint)}"
    with _locked(target):
        if not target.is_dir():
            convert(checkpoint, weights, target, report)
        ensure_vocabulary(folder, target, checkpoint.config["vocab_size"])
    return target


def fingerprint(checkpoint: Checkpoint) -> str:
    """Changes with the content of config.json and with names, sizes and times of the weight files; 16 hex digits."""
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in checkpoint.files]
    key = json.dumps([VERSION, checkpoint.config, stats], sort_keys=True)
    return hashlib.sha256(key.encode()).hexdigest()[:16]


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = target.with_name(target.name + ".lock").open("w")
    except OSError as error:
        raise ConfigurationError(f"{target.parent}: cannot be written ({error.strerror}); set another cache") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def convert(checkpoint: Checkpoint, weights: WeightFormat, target: Path, report: Report = _log.info) -> None:
    """Writes `target`, which must not exist: openvino_model.xml and .bin, and config.json.

    generation_config.json is left out: openvino-genai would add its end ids to those of every request.
    """
    model = DenseQwen.from_config(checkpoint.config)
    model.check_tensors(checkpoint.tensors)
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    _check_space(checkpoint, target.parent)
    partial.mkdir(parents=True)
    try:
        _write(checkpoint, model, weights, partial, report)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_space(checkpoint: Checkpoint, where: Path) -> None:
    where.mkdir(parents=True, exist_ok=True)
    needed = sum(file.stat().st_size for file in checkpoint.files)
    free = shutil.disk_usage(where).free
    if free < needed:
        raise ConfigurationError(
            f"{where}: {free >> 20} MiB are free, the conversion may need {needed >> 20}; make room there"
        )


def _write(checkpoint: Checkpoint, model: DenseQwen, weights: WeightFormat, folder: Path, report: Report) -> None:
    started = time.monotonic()
    shapes = model.tensor_shapes().values()
    numbers = sum(math.prod(shape) for shape in shapes)
    report(f"converting {checkpoint.folder}: {len(shapes)} tensors, {numbers / 1e6:.1f} M weights, {weights}")
    matrices = sum(math.prod(shape) for shape in shapes if len(shape) == 2)
    nodes = WeightNodes(checkpoint.tensors, weights, _Percent(matrices, report))
    graph = GraphBuilder(model, nodes).build()
    xml = folder / "openvino_model.xml"
    report(f"writing {folder}")
    ov.save_model(graph, xml, compress_to_fp16=False)
    mark_decompression(xml)
    shutil.copyfile(checkpoint.folder / "config.json", folder / "config.json")
    written = sum(file.stat().st_size for file in folder.iterdir())
    report(f"converted in {time.monotonic() - started:.1f} s, {written / 1e6:.1f} MB")


class _Percent:
    """Reports every tenth of the way."""

    def __init__(self, total: int, report: Report) -> None:
        self._total = total
        self._report = report
        self._rounded = 0

    def __call__(self, count: int) -> None:
        before, self._rounded = self._rounded, self._rounded + count
        if self._rounded * 10 // self._total > before * 10 // self._total:
            self._report(f"rounded {self._rounded * 100 // self._total} %")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command: exit code 0, or 1 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="openvino_convert", description="Convert a dense Qwen checkpoint.")
    parser.add_argument("checkpoint", type=Path, help="folder with config.json and safetensors")
    parser.add_argument("--weights", choices=WEIGHT_FORMATS, default="stored", help="default: as stored")
    parser.add_argument("--output", type=Path, help="folder to write, must not exist; default: the cache")
    options = parser.parse_args(arguments)
    try:
        folder = _convert_to(options.checkpoint, options.weights, options.output)
    except QwenTritonError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(folder)
    return 0


def _convert_to(source: Path, weights: WeightFormat, output: Path | None) -> Path:
    def report(line: str) -> None:
        print(line, file=sys.stderr)

    if output is None:
        return convert_cached(source, weights, report=report)
    if output.exists():
        raise ConfigurationError(f"{output}: exists already; remove it or name another --output")
    checkpoint = Checkpoint.open(source)
    convert(checkpoint, weights, output, report)
    ensure_vocabulary(source, output, checkpoint.config["vocab_size"])
    return output


if __name__ == "__main__":
    sys.exit(main())
