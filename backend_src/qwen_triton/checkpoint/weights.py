"""Opens a checkpoint of Hugging Face's layout: config.json and safetensors, in one file or several.

Knows the file format and no models. Weights stay on disk and are mapped into memory when their arrays are used.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigurationError
from .json_file import read_json_object

SINGLE = "model.safetensors"
REMEDY = "give a folder with a Hugging Face checkpoint, fetched whole"
INDEX = "model.safetensors.index.json"
ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4}
_NUMPY = {"BF16": np.uint16, "F16": np.float16, "F32": np.float32}
_MAX_HEADER = 100_000_000  # the format's own limit, in bytes


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file: bytes [start, stop) of `file`, row-major; `dtype` as safetensors spells it."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    def array(self) -> NDArray[Any]:
        """The tensor as a view of the mapped file, shape `self.shape`; bf16 as its bits in uint16.

        Raises ConfigurationError for another type than BF16, F16 and F32.
        """
        if self.dtype not in _NUMPY:
            raise ConfigurationError(
                f"{self.file}: weights of type {self.dtype} are not supported (only BF16, F16, F32); "
                "use the checkpoint that is not quantised"
            )
        with self.file.open("rb") as file:
            # Copy-on-write, because OpenVINO takes only writable arrays; nothing is ever written.
            pages = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        return np.frombuffer(pages, _NUMPY[self.dtype], prod(self.shape), self.start).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """An opened folder: its config.json, its tensors by name, and the weight files in a fixed order."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, StoredTensor]
    files: tuple[Path, ...]

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Reads config.json and all headers. Raises ConfigurationError for a missing, damaged or truncated file."""
        config = read_json_object(folder / "config.json", REMEDY)
        files = _weight_files(folder)
        tensors: dict[str, StoredTensor] = {}
        for file in files:
            tensors.update(read_header(file))
        return cls(folder, config, tensors, files)


def _weight_files(folder: Path) -> tuple[Path, ...]:
    if (folder / INDEX).is_file():
        weight_map = read_json_object(folder / INDEX, REMEDY).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ConfigurationError(f"{folder / INDEX}: has no weight_map; fetch it again")
        names = sorted(set(map(str, weight_map.values())))
        files = tuple(folder / name for name in names)
        for file in files:
            if not file.is_file():
                raise ConfigurationError(f"{file}: named by {INDEX} but missing; fetch it again")
        return files
    if (folder / SINGLE).is_file():
        return (folder / SINGLE,)
    remedy = "convert its .bin files to safetensors" if list(folder.glob("*.bin")) else "fetch the weights"
    raise ConfigurationError(f"{folder}: neither {SINGLE} nor {INDEX} is there; {remedy}")


def read_header(path: Path) -> dict[str, StoredTensor]:
    """The tensors of a safetensors file by name. Raises ConfigurationError for one that is damaged, cut short or a pointer."""
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        if prefix == b"version ":
            raise ConfigurationError(f"{path}: is a Git LFS pointer, not the weights; run `git lfs pull`")
        length = int.from_bytes(prefix, "little")
        if len(prefix) < 8 or length > min(_MAX_HEADER, size - 8):
            raise ConfigurationError(f"{path}: is not safetensors or was cut short ({size} bytes); fetch it again")
        try:
            entries = json.loads(file.read(length))
            entries.pop("__metadata__", None)
            tensors = {name: _entry(path, 8 + length, entry) for name, entry in entries.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"{path}: has a damaged header ({error}); fetch it again") from error
    end = max((tensor.stop for tensor in tensors.values()), default=8 + length)
    if end != size:
        raise ConfigurationError(f"{path}: is {size} bytes, its header asks for {end}: cut short; fetch it again")
    return tensors


def _entry(path: Path, base: int, entry: Mapping[str, Any]) -> StoredTensor:
    shape = tuple(int(dim) for dim in entry["shape"])
    start, stop = (base + int(offset) for offset in entry["data_offsets"])
    dtype = str(entry["dtype"])
    if start < base or (dtype in ITEM_BYTES and stop - start != prod(shape) * ITEM_BYTES[dtype]):
        raise ValueError(f"{stop - start} bytes for a tensor {dtype}{list(shape)}")
    return StoredTensor(path, dtype, shape, start, stop)
