"""What a model declares, and a request's arrays brought into that shape.

Stock's models know fewer inputs than ours, some of them under another name. What a model cannot take is refused by
name; nothing a caller asked for is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from qwen_triton.errors import InvalidRequest
from qwen_triton.tensors.arrays import NUMPY, Array, Arrays
from qwen_triton.tensors.contract import STOCK_NAMES

_EMPTY = {"bad_words": b"", "stop_words": b""}
"""Stock's way to say «none», for models that want the input sent."""

_REMEDIES = {
    "messages": "this model takes text only: use generate, or the models of a qwen-triton repository",
    "tools": "this model takes text only: use the models of a qwen-triton repository",
    "input_ids": "only tensorrt_llm_bls of a qwen-triton repository takes token ids",
}


@dataclass(frozen=True, slots=True)
class DeclaredInput:
    """One input: `dtype` as in config.pbtxt."""

    dtype: str
    optional: bool


@dataclass(frozen=True, slots=True)
class DeclaredModel:
    """A model's name, inputs and outputs. `batched`: arrays have a leading dimension of rows. `steps`: an ensemble's."""

    name: str
    inputs: Mapping[str, DeclaredInput]
    outputs: frozenset[str]
    batched: bool = True
    steps: tuple[str, ...] = ()

    def fit(self, arrays: Arrays) -> dict[str, Array]:
        """The arrays under the model's names and types. Raises InvalidRequest for what it cannot take or lacks."""
        fitted = {}
        for name, array in arrays.items():
            known = name if name in self.inputs else STOCK_NAMES.get(name, name)
            if known not in self.inputs:
                raise InvalidRequest(_REMEDIES.get(name, f"model {self.name} has no such input; leave it out"), name)
            fitted[known] = self._shaped(array, self.inputs[known])
        return fitted | self._required(fitted)

    def wanted(self, names: Iterable[str]) -> list[str]:
        """Those of the outputs that the model has."""
        return [name for name in names if name in self.outputs]

    def _shaped(self, array: Array, declared: DeclaredInput) -> Array:
        typed = array.astype(NUMPY[declared.dtype])
        return typed if self.batched else typed[0]

    def _required(self, given: Mapping[str, Array]) -> dict[str, Array]:
        missing = [name for name, i in self.inputs.items() if not i.optional and name not in given]
        for name in missing:
            if name not in _EMPTY:
                raise InvalidRequest(f"model {self.name} cannot do without it", name)
        return {name: self._shaped(np.array([[_EMPTY[name]]], dtype=np.object_), self.inputs[name]) for name in missing}


def decode_config(config: Mapping[str, Any]) -> DeclaredModel:
    """A model from its configuration as Triton's HTTP endpoint gives it."""
    return DeclaredModel(
        config["name"],
        {i["name"]: DeclaredInput(i["data_type"], bool(i.get("optional"))) for i in config["input"]},
        frozenset(o["name"] for o in config["output"]),
        config.get("max_batch_size", 0) > 0,
        tuple(step["model_name"] for step in config.get("ensemble_scheduling", {}).get("step", ())),
    )
