"""Encodes prompts as the inputs of a Triton model, by the names that it has: ours, and stock's where it lacks ours."""

from __future__ import annotations

import numpy as np

from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve.declared_model import DeclaredModel
from qwen_triton.tensors.arrays import Array, encode_strings
from qwen_triton.tensors.contract import (
    BLS,
    ENSEMBLE,
    EXCLUDE_INPUT_IN_OUTPUT,
    INPUT_IDS,
    INPUT_LENGTHS,
    MIN_LENGTH,
    OUTPUT_IDS,
    REQUEST_OUTPUT_LEN,
    SEQUENCE_LENGTH,
    STREAMING,
    TENSORRT_LLM,
    TEXT_INPUT,
    TEXT_OUTPUT,
)
from qwen_triton.tensors.text_inputs import encode_generate
from qwen_triton.tensors.usage import END_OUTPUTS
from qwen_triton.types import GenerateRequest, SamplingParams, StopConditions

from ..prompts.prompt import Prompt

_CONTENT = {TENSORRT_LLM: (OUTPUT_IDS, SEQUENCE_LENGTH), BLS: (TEXT_OUTPUT,), ENSEMBLE: (TEXT_OUTPUT,)}


class PromptEncoder:
    """Encodes for one model. `kind`: the model of ours whose tensors it has. `streamed`: answers come in pieces.

    `outputs` are those to ask for. Raises ConfigurationError when the model lacks an output of its kind.
    """

    def __init__(self, kind: str, model: DeclaredModel, streamed: bool) -> None:
        self.kind = kind
        self.streamed = streamed
        self._inputs = frozenset(model.inputs)
        self._without_text: dict[tuple[int, bool], dict[str, Array]] = {}
        missing = [name for name in _CONTENT[kind] if name not in model.outputs]
        if missing:
            raise ConfigurationError(
                f"{model.name} is not a {kind} model: it has no output {missing[0]}, only {', '.join(model.outputs)}"
            )
        self.outputs = (*_CONTENT[kind], *(name for name in END_OUTPUTS if name in model.outputs))

    def encode(self, prompt: Prompt) -> dict[str, Array]:
        """Arrays of one row; those that the model does not declare are left out."""
        arrays = self._ids(prompt) if self.kind == TENSORRT_LLM else self._text(prompt)
        return {name: array for name, array in arrays.items() if name in self._inputs}

    def _ids(self, prompt: Prompt) -> dict[str, Array]:
        ids = np.array([prompt.token_ids or ()], np.int32)
        return {
            INPUT_IDS: ids,
            INPUT_LENGTHS: np.array([[ids.shape[1]]], np.int32),
            REQUEST_OUTPUT_LEN: np.array([[prompt.output_tokens]], np.int32),
            STREAMING: np.array([[self.streamed]]),
            EXCLUDE_INPUT_IN_OUTPUT: np.array([[True]]),
        }

    def _text(self, prompt: Prompt) -> dict[str, Array]:
        key = (prompt.output_tokens, prompt.exact)
        if key not in self._without_text:
            self._without_text[key] = self._encode_without_text(*key)
        return {**self._without_text[key], TEXT_INPUT: encode_strings([[prompt.text or ""]])}

    def _encode_without_text(self, output_tokens: int, exact: bool) -> dict[str, Array]:
        """All that requests of one length have in common: encoded once, because the load sends thousands of them."""
        request = GenerateRequest(
            prompt="",
            prompt_format="raw",
            sampling=SamplingParams(max_tokens=output_tokens, min_tokens=output_tokens if exact else 0),
            stop=StopConditions(ignore_eos=exact),
            stream=self.streamed,
            echo=False,
        )
        arrays = encode_generate(request)
        min_tokens = arrays.pop("min_tokens", None)
        if min_tokens is not None and "ignore_eos" not in self._inputs:
            arrays[MIN_LENGTH] = min_tokens  # under stock's name, since stock has no `ignore_eos`
        return arrays
