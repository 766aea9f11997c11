"""Asks one question after the other, over a connection of its own, and notes when the first token of each came."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from qwen_triton.tensors.contract import BLS, ENSEMBLE

from ..prompts.prompt import Prompt
from ..targets.openai import OpenAiTarget, first_model
from ..targets.server_facts import ServerFacts
from ..targets.target import Counts, Target
from ..targets.triton_grpc import GrpcTarget

TARGETS = {"bls": BLS, "ensemble": ENSEMBLE, "openai": ""}
"""What is asked: the Triton model behind it, none for the OpenAI server."""
_WAIT_S = 120.0


@dataclass(frozen=True)
class TargetAddress:
    """Where to ask: one of TARGETS, and its URL, HOST:PORT of Triton's gRPC for a model."""

    via: str
    url: str

    def open(self) -> Target:
        """A new connection. Raises ConfigurationError when nothing answers there."""
        if self.via == "openai":
            return OpenAiTarget(self.url, first_model(self.url, ""), chat=True, streamed=True)
        model = ServerFacts(self.url, "grpc").model(TARGETS[self.via])
        return GrpcTarget(self.url, model, TARGETS[self.via], True)


@dataclass(frozen=True)
class Answered:
    """One answer: seconds to its first token, tokens of the prompt by the server's count, or an error."""

    first_token_s: float
    input_tokens: int
    error: str = ""


class Asker:
    """Asks at one address. It is a listener of its own answers, one at a time."""

    def __init__(self, address: TargetAddress) -> None:
        self._target = address.open()
        self._number = 0
        self._ended = threading.Event()
        self._first = 0.0
        self._counts = Counts()
        self._error = ""

    def ask(self, prompt: Prompt) -> Answered:
        """Returns when the answer has ended, or after two minutes with an error."""
        self._number += 1
        self._ended.clear()
        self._first, self._error = 0.0, "no answer in time"
        sent = time.perf_counter()
        self._target.send(self._number, prompt, self)
        self._ended.wait(_WAIT_S)
        return Answered(self._first - sent, self._counts.input_tokens or 0, self._error)

    def close(self) -> None:
        """Ends the connection."""
        with suppress(OSError):
            self._target.close()

    def on_response(self, request: int, content: bytes, size: int) -> None:  # noqa: ARG002  as AnswerListener has it
        self._first = self._first or time.perf_counter()

    def on_end(self, request: int, counts: Counts) -> None:  # noqa: ARG002
        self._counts, self._error = counts, ""
        self._first = self._first or time.perf_counter()
        self._ended.set()

    def on_error(self, request: int, kind: str) -> None:  # noqa: ARG002
        self._error = kind
        self._ended.set()

    def on_lost(self, reason: str) -> None:
        self._error = reason
        self._ended.set()
