"""A text model behind a real local server, on threads of the test's process: it answers when it is told to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qwen_triton.errors import EngineError
from qwen_triton.serving.local.connection import LocalConnection, LocalResponder
from qwen_triton.serving.local.messages import SentRequest
from qwen_triton.serving.local.server import LocalServer
from tests.support.live.waiting import becomes

WAIT_S = 20.0


class LocalModel:
    """Listens at `address`. Keeps requests, the names of cancelled ones, and those of clients that have gone. `fails`: no
    request is admitted."""

    def __init__(self, address: str, processes: int = 1) -> None:
        self.address = address
        self.requests: list[tuple[LocalConnection, SentRequest]] = []
        self.batches: list[int] = []
        self.cancelled: list[str] = []
        self.gone: list[str] = []
        self.fails = False
        self.server = LocalServer(address, processes, self._admit, self.cancelled.append, self.gone.append)
        self.server.start()

    def _admit(self, requests: Sequence[tuple[LocalConnection, SentRequest]]) -> None:
        if self.fails:
            raise EngineError("no request can be admitted")
        self.batches.append(len(requests))
        self.requests += requests

    def has(self, count: int) -> bool:
        """Whether it has got so many requests, soon."""
        return becomes(lambda: len(self.requests) >= count, WAIT_S) and len(self.requests) == count

    def prompt(self, index: int = -1) -> bytes:
        """The text of a request."""
        return bytes(self.requests[index][1].inputs["text_input"][1][0])

    def answer(self, index: int = -1, text: bytes = b"", *, final: bool = True) -> None:
        """Says a text, else the request's own, as a response."""
        responder = self._responder(index)
        said = np.array([text or self.prompt(index)], np.object_)
        responder.write({"text_output": said}, final=final)
        responder.flush()

    def fail(self, error: Exception, index: int = -1) -> None:
        """Ends a request with an error."""
        self._responder(index).fail(error)

    def stop(self) -> None:
        """Ends as a process that is killed: the connections close."""
        self.server.stop()

    def _responder(self, index: int) -> LocalResponder:
        connection, sent = self.requests[index]
        return LocalResponder(connection, sent.number, sent.request_id, sent.outputs)
