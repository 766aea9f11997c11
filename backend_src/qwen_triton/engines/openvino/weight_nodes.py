"""Turns a checkpoint's tensors into nodes of an OpenVINO graph: as stored, or as int8 with a scale per row."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as op

from ...checkpoint.weights import StoredTensor

WeightFormat = Literal["stored", "int8"]
WEIGHT_FORMATS: tuple[WeightFormat, ...] = ("stored", "int8")
_TYPES = {"BF16": ov.Type.bf16, "F16": ov.Type.f16, "F32": ov.Type.f32}
_BLOCK = 1 << 22  # numbers widened to f32 at a time: 16 MB of extra memory instead of a second copy of the matrix


class WeightNodes:
    """Makes the node of a tensor; calls `done` with the number of weights of each matrix that it has rounded.

    Stored weights are not copied, and OpenVINO does not own the arrays that its constants point into. This object owns
    them, so it must outlive the graph.
    """

    def __init__(self, tensors: Mapping[str, StoredTensor], weights: WeightFormat, done: Callable[[int], None]) -> None:
        self._tensors = tensors
        self._int8 = weights == "int8"
        self._done = done
        self._arrays: list[NDArray[Any]] = []

    def __call__(self, name: str) -> Any:
        """A node that yields tensor `name` as f32. Matrices are quantised when asked to, norms and biases never."""
        tensor = self._tensors[name]
        array = tensor.array()
        if not self._int8 or array.ndim != 2:
            return self._stored(array, _TYPES[tensor.dtype])
        rows, scales = quantise_rows(array)
        self._done(array.size)
        return op.multiply(op.convert(op.constant(rows), "f32"), op.constant(scales))

    def _stored(self, array: NDArray[Any], kind: ov.Type) -> Any:
        self._arrays.append(array)
        constant = op.constant(ov.Tensor(array, list(array.shape), kind), shared_memory=True)
        return constant if kind == ov.Type.f32 else op.convert(constant, "f32")


def quantise_rows(matrix: NDArray[Any]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 per row: int8 [rows, columns] in -127…127 and f32 scales [rows, 1]. bf16 comes as uint16 bits."""
    rows, columns = matrix.shape
    quantised = np.empty((rows, columns), np.int8)
    scales = np.empty((rows, 1), np.float32)
    block = max(1, _BLOCK // columns)
    for start in range(0, rows, block):
        part = _widen(matrix[start : start + block])
        largest = np.abs(part).max(axis=1, keepdims=True)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        quantised[start : start + block] = np.rint(part / scale)
        scales[start : start + block] = scale
    return quantised, scales


def _widen(part: NDArray[Any]) -> NDArray[np.float32]:
    """f32 values; bf16 is the upper half of an f32."""
    if part.dtype == np.uint16:
        return (part.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return part.astype(np.float32)


def mark_decompression(xml: Path) -> None:
    """Marks the conversions of 16-bit weights in a saved graph, so that the plugin keeps them 16-bit.

    Without the mark the CPU plugin folds them to f32 when it loads, which doubles their memory. The Python interface
    cannot set it, so it is written into the file.
    """
    tree = ET.parse(xml)
    layers = {layer.get("id"): layer for layer in tree.iter("layer")}
    for edge in tree.iter("edge"):
        source, target = layers[edge.get("from-layer")], layers[edge.get("to-layer")]
        data = source.find("data")
        stored = data is not None and data.get("element_type") in ("f16", "bf16")
        if source.get("type") == "Const" and target.get("type") == "Convert" and stored:
            attribute = {"name": "decompression", "version": "0"}
            _runtime_info(target).append(ET.Element("attribute", attribute))
    tree.write(xml, encoding="utf-8", xml_declaration=True)


def _runtime_info(layer: ET.Element) -> ET.Element:
    """The layer's rt_info, which stands before its ports."""
    info = layer.find("rt_info")
    if info is None:
        info = ET.Element("rt_info")
        layer.insert(1 if layer.find("data") is not None else 0, info)
    return info
