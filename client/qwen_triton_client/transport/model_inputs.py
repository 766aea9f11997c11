"""Fits a request's arrays to what a model declares.

Stock's models know fewer inputs than ours, some of them under another name. What a model cannot take is refused by
name: nothing that a caller asked for is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from qwen_triton.errors import InvalidRequest
from qwen_triton.kserve.declared_model import DeclaredInput, DeclaredModel
from qwen_triton.tensors.arrays import NUMPY, Array, Arrays
from qwen_triton.tensors.contract import BAD_WORDS, INPUT_IDS, MESSAGES, STOCK_NAMES, STOP_WORDS, TOOLS

_EMPTY = {BAD_WORDS: b"", STOP_WORDS: b""}
"""Stock's value for «none», for models that require the input."""

_REMEDIES = {
    MESSAGES: "this model takes text only: use generate, or the models of a qwen-triton repository",
    TOOLS: "this model takes text only: use the models of a qwen-triton repository",
    INPUT_IDS: "only tensorrt_llm_bls of a qwen-triton repository takes token ids",
}


def fit_arrays(arrays: Arrays, model: DeclaredModel) -> dict[str, Array]:
    """Arrays [rows, n] under the model's names and types, without the rows where it has no batches.

    Raises InvalidRequest for an array that the model does not take, and for an input that it requires and lacks.
    """
    fitted = {}
    for name, array in arrays.items():
        known = name if name in model.inputs else STOCK_NAMES.get(name, name)
        if known not in model.inputs:
            raise InvalidRequest(_REMEDIES.get(name, f"model {model.name} has no such input; leave it out"), name)
        fitted[known] = _shaped(array, model.inputs[known], model)
    return fitted | _required(fitted, model)


def wanted_outputs(names: Iterable[str], model: DeclaredModel) -> list[str]:
    """Those of the outputs that the model has."""
    return [name for name in names if name in model.outputs]


def _shaped(array: Array, declared: DeclaredInput, model: DeclaredModel) -> Array:
    typed = array.astype(NUMPY[declared.dtype])
    return typed if model.max_batch_size else typed[0]


def _required(given: Mapping[str, Array], model: DeclaredModel) -> dict[str, Array]:
    missing = [name for name, i in model.inputs.items() if not i.optional and name not in given]
    for name in missing:
        if name not in _EMPTY:
            raise InvalidRequest(f"model {model.name} cannot do without it", name)
    return {name: _shaped(np.array([[_EMPTY[name]]], dtype=np.object_), model.inputs[name], model) for name in missing}
