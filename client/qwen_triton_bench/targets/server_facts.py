"""Facts of a running Triton, read before a load: its version, a model's declarations, texts in its tokenizer's ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from qwen_triton.errors import ConfigurationError, QwenTritonError, Unavailable
from qwen_triton.kserve.declared_model import DeclaredModel
from qwen_triton.tensors.arrays import Arrays, encode_strings
from qwen_triton.tensors.contract import (
    PRE_INPUT_ID,
    PRE_PROMPT_FORMAT,
    PRE_QUERY,
    PRE_REQUEST_INPUT_LEN,
    PRE_REQUEST_OUTPUT_LEN,
    PREPROCESSING,
)
from qwen_triton_client.session import open_transport

T = TypeVar("T")


class ServerFacts:
    """Asks at HOST:PORT of Triton's gRPC or HTTP (`protocol`). Raises ConfigurationError for what is not there."""

    def __init__(self, url: str, protocol: str = "grpc") -> None:
        self._url = url
        self._protocol = {"grpc": "gRPC", "http": "HTTP"}[protocol]
        self._transport = open_transport(url if protocol == "grpc" else f"http://{url}")

    def server(self) -> str:
        """Name and version."""
        return self._ask(self._transport.server)

    def model(self, name: str) -> DeclaredModel:
        """A model's configuration."""
        return self._ask(lambda: self._transport.describe(name))

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as the preprocessing model encodes them; no more texts than that model's max_batch_size."""
        column = [[text] for text in texts]
        arrays = {PRE_QUERY: encode_strings(column), PRE_REQUEST_OUTPUT_LEN: np.ones((len(texts), 1), np.int32)}
        if PRE_PROMPT_FORMAT in self.model(PREPROCESSING).inputs:
            arrays[PRE_PROMPT_FORMAT] = encode_strings([["raw"] for _ in texts])
        ids, lengths = (
            np.frombuffer(raw, np.int32) for raw in self._infer(arrays, PRE_INPUT_ID, PRE_REQUEST_INPUT_LEN)
        )
        rows = ids.reshape(len(texts), -1).tolist()
        return [row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)]

    def _infer(self, arrays: Arrays, *names: str) -> list[bytes]:
        outputs = self._ask(lambda: self._transport.infer(PREPROCESSING, arrays, names))
        return [outputs[name] for name in names]

    def _ask(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except Unavailable:
            raise ConfigurationError(
                f"no Triton server answers {self._protocol} at {self._url}; start one, or give --url"
            ) from None
        except QwenTritonError as error:
            raise ConfigurationError(f"{self._url}: {error}") from None
