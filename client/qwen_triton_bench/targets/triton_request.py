"""A prompt as the inputs of a Triton model, by whatever names that model has: ours, and stock's where it lacks ours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import BLS, ENSEMBLE, TENSORRT_LLM

from ..prompts.prompt import Prompt
from .model_facts import ModelFacts

TEXT = "text_output"
IDS_LENGTH = "sequence_length"
COUNTS = ("num_input_tokens", "num_output_tokens", "num_cached_tokens", "finish_reason")
_CONTENT = {TENSORRT_LLM: ("output_ids", IDS_LENGTH), BLS: (TEXT,), ENSEMBLE: (TEXT,)}


class Input(NamedTuple):
    """One input of one row: `values` are those of a row; a datatype as the protocol spells it."""

    name: str
    datatype: str
    values: list[Any]


class Dialect:
    """How a model of this name and these tensors is asked. `streamed`: whether answers come in pieces."""

    def __init__(self, kind: str, model: ModelFacts, streamed: bool) -> None:
        self.kind = kind
        self.streamed = streamed
        self._inputs = frozenset(model.inputs)
        missing = [name for name in _CONTENT[kind] if name not in model.outputs]
        if missing:
            raise ConfigurationError(
                f"{model.name} is not a {kind} model: it has no output {missing[0]}, only {', '.join(model.outputs)}"
            )
        self.outputs = (*_CONTENT[kind], *(name for name in COUNTS if name in model.outputs))

    def inputs(self, prompt: Prompt) -> list[Input]:
        found = list(self._ids(prompt) if self.kind == TENSORRT_LLM else self._text(prompt))
        return [i for i in found if i.name in self._inputs]

    def _ids(self, prompt: Prompt) -> Iterator[Input]:
        ids = list(prompt.token_ids or ())
        yield Input("input_ids", "INT32", ids)
        yield Input("input_lengths", "INT32", [len(ids)])
        yield Input("request_output_len", "INT32", [prompt.output_tokens])
        yield Input("streaming", "BOOL", [self.streamed])
        yield Input("exclude_input_in_output", "BOOL", [True])

    def _text(self, prompt: Prompt) -> Iterator[Input]:
        text = prompt.text or ""
        yield Input("text_input", "BYTES", [text.encode()])
        yield Input("max_tokens", "INT32", [prompt.output_tokens])
        yield Input("stream", "BOOL", [self.streamed])
        yield Input("prompt_format", "BYTES", [b"raw"])
        yield Input("exclude_input_in_output", "BOOL", [True])
        if prompt.exact:
            yield Input("ignore_eos", "BOOL", [True])
            if "ignore_eos" not in self._inputs:
                yield Input("min_length", "INT32", [prompt.output_tokens])
