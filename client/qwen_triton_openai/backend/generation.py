"""Generations: requests under way at the text model, on a ModelStreamInfer call of their own, on a shared one, or on a
connection to one of the model's processes on this machine.

Responses are kept as they come and become pieces when the reader asks for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.kserve.messages import STREAM_INFER, InferResponse, decode_stream_response
from qwen_triton.kserve.status import StatusCode, error_of
from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.text_outputs import TextPiece, decode_text_outputs, merge_pieces

from .grpc_pool import GrpcPool, Metadata
from .local_socket import LocalSocket
from .shared_calls import SharedCalls

Cancellation = Callable[[], bytes]
Way = Literal["grpc", "local"]
"""How a request reaches the model: through the server, or to one of the model's processes over a Unix socket."""
_NOT_NOW = (StatusCode.UNAVAILABLE, StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED)
_UNDECODED = 64
"""Messages that are kept as they came; more are decoded and merged, so that what waits for a slow reader is little more
than its text."""


def call_error(code: StatusCode, text: str) -> QwenTritonError:
    """The error that the model raised, by the gRPC status of its call."""
    if code == StatusCode.INVALID_ARGUMENT:
        return InvalidRequest(text)
    if code in _NOT_NOW:
        return Unavailable(text if text and "failed to connect" not in text else "the model server does not answer")
    if code == StatusCode.CANCELLED:
        return Cancelled(text)
    return EngineError(text)


class ModelGeneration:
    """A `Generation`; listens to a call of its own, or to its responses on a shared call or connection. What its reader has
    not asked for is kept, at most the text of its answer: a slow reader does not hold up other requests."""

    def __init__(self) -> None:
        self.way: Way = "grpc"
        self._messages: list[bytes | InferResponse] = []
        self._pieces: list[TextPiece] = []
        self._error: QwenTritonError | None = None
        self._ended = False
        self._waiting: asyncio.Future[None] | None = None
        self._leave: Callable[[], None] | None = None

    async def begin(
        self, pool: GrpcPool, request: bytes, metadata: Metadata, cancellation: Cancellation = bytes
    ) -> None:
        """Sends the request, a KServe message, on a call of its own. `cancellation` makes the request that ends it at the
        model, if there is one. Raises Unavailable."""
        socket, stream_id = await pool.open(STREAM_INFER, metadata, request, self)
        self._leave = lambda: socket.leave(stream_id, STREAM_INFER, b"" if self._ended else cancellation())

    async def join(self, calls: SharedCalls, request_id: str, request: bytes, cancellation: Cancellation) -> None:
        """Sends the request, whose id is `request_id`, on a call that is shared. Raises Unavailable."""
        call = await calls.send(request_id, request, self)
        self._leave = lambda: None if self._ended else call.leave(request_id, cancellation())

    def send(self, connection: LocalSocket, request_id: str, outputs: Sequence[str], arrays: Arrays) -> None:
        """Sends the request to a process of the model on this machine."""
        self.way = "local"
        number = connection.send(request_id, outputs, arrays, self)
        self._leave = lambda: connection.leave(number)

    async def read(self) -> list[TextPiece]:
        while True:
            if self._messages:
                self._decode()
            if self._pieces:
                pieces, self._pieces = self._pieces, []
                return pieces
            if self._ended:
                break
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        if self._error is not None:
            raise self._error
        return []

    def cancel(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        if not self._ended:
            self._messages, self._pieces = [], []
            self._finish(Cancelled("the request was taken back"))

    def on_message(self, message: bytes) -> None:
        self._messages.append(message)
        if len(self._messages) >= _UNDECODED:
            self._decode()
        self._wake()

    def on_response(self, response: InferResponse) -> None:
        self._messages.append(response)
        self._ended = self._ended or (response.final and not response.error)
        if len(self._messages) >= _UNDECODED:
            self._decode()
        self._wake()

    def on_end(self, code: StatusCode, text: str) -> None:
        if not self._ended:
            self._finish(None if code == StatusCode.OK else call_error(code, text))

    def _finish(self, error: QwenTritonError | None) -> None:
        self._ended, self._error = True, error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _decode(self) -> None:
        """Messages to pieces, up to one with an error: that is the end, behind the pieces before it."""
        messages, self._messages = self._messages, []
        for data in messages:
            response = decode_stream_response(data) if isinstance(data, bytes) else data
            if response.error:
                self._finish(error_of(response.error))
                break
            self._pieces += decode_text_outputs(response.outputs)
        if len(self._pieces) > 1:
            self._pieces = merge_pieces(self._pieces)


class Generation(Protocol):
    """One request under way at the text model, read by one task."""

    async def read(self) -> list[TextPiece]:
        """The pieces that have arrived, waiting for the first; none at the end. Raises a QwenTritonError."""

    def cancel(self) -> None:
        """Cancels the request; does nothing once it has ended."""


class PromptGenerations:
    """A `Generation` of several prompts, `n` sequences each: sequence s of prompt p is sequence p * n + s here."""

    def __init__(self, generations: Sequence[Generation], n: int) -> None:
        self._generations = generations
        self._n = n
        self._reads = {asyncio.ensure_future(g.read()): p for p, g in enumerate(generations)}

    async def read(self) -> list[TextPiece]:
        found: list[TextPiece] = []
        while self._reads and not found:
            done, _ = await asyncio.wait(self._reads, return_when=asyncio.FIRST_COMPLETED)
            for reading in done:
                prompt = self._reads.pop(reading)
                if pieces := reading.result():
                    found += [p._replace(sequence=prompt * self._n + p.sequence) for p in pieces]
                    self._reads[asyncio.ensure_future(self._generations[prompt].read())] = prompt
        return found

    def cancel(self) -> None:
        for generation in self._generations:
            generation.cancel()
        for reading in self._reads:
            reading.add_done_callback(_forget)


def _forget(reading: asyncio.Future[list[TextPiece]]) -> None:
    """Retrieves the error of a read that has no reader, which asyncio would log."""
    if not reading.cancelled():
        reading.exception()
