"""The context of the models behind, as their preprocessing model has it: asked once, when a client wants to know."""

from __future__ import annotations

import asyncio

import numpy as np

from qwen_triton.errors import QwenTritonError
from qwen_triton.tensors.contract import PRE_INPUT_ID, PRE_PROMPT_FORMAT, PRE_QUERY, PRE_REQUEST_OUTPUT_LEN

from .triton import Backend

_WAIT_S = 2.0


class ContextLength:
    """`model`: the name of the preprocessing model."""

    def __init__(self, backend: Backend, model: str) -> None:
        self._backend = backend
        self._model = model
        self._tokens: int | None = None

    async def tokens(self) -> int | None:
        """The most tokens of prompt and answer together; None while the server cannot be asked."""
        if self._tokens is None:
            arrays = {PRE_QUERY: np.array([[b"a"]], np.object_), PRE_PROMPT_FORMAT: np.array([[b"raw"]], np.object_)}
            try:
                outputs = await asyncio.wait_for(self._backend.infer(self._model, arrays), _WAIT_S)
            except (QwenTritonError, asyncio.TimeoutError):
                return None
            self._tokens = context_of(outputs)
        return self._tokens


def context_of(outputs: dict[str, bytes]) -> int | None:
    """Prompt and room for the answer together, from the raw outputs of the preprocessing model; None without them."""
    if PRE_INPUT_ID not in outputs or PRE_REQUEST_OUTPUT_LEN not in outputs:
        return None
    prompt = np.frombuffer(outputs[PRE_INPUT_ID], np.int32)
    return len(prompt) + int(np.frombuffer(outputs[PRE_REQUEST_OUTPUT_LEN], np.int32)[0])
