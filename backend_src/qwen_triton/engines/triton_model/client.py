"""Link to an engine that is a Triton model of another backend, such as NVIDIA's: through the server's own gRPC.

Triton's call from model to model, `exec`, needs a thread for each request, and tritonserver 2.51's Python stub locks up
under hundreds of them. Here all requests share one connection. It is opened at the first of them, because the server
serves gRPC only after its models are loaded.
"""

from __future__ import annotations

import contextlib
import logging
import select
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import EngineError, Unavailable
from ...kserve.messages import FINAL_RESPONSE, InferResponse, encode_infer_request
from ...tensors.arrays import Arrays
from ...tensors.engine_inputs import encode_engine_request, encode_stop_request
from ...tensors.engine_outputs import OUTPUTS
from ...types import EngineRequest, TokenChunk
from ..engine import EngineInfo, FormKeeping
from ..link import ChunkReceiver
from ..process.deadlines import Deadlines
from ..process.socket import Waker
from .connection import ModelConnection
from .facts import EngineModelFacts
from .processes import ModelProcesses
from .sequence import ModelSequence
from .server_address import GrpcAddress
from .tls import client_context

_LATE = "the engine said nothing within the request's timeout; try again later"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Running:
    """A sequence in the engine, and the connection that its responses come over."""

    key: int
    connection: ModelConnection
    sequence: ModelSequence


class ModelClient:
    """An engine link. `processes`: those of a model of Triton's Python backend. `connect_s`: how long a submit waits for a
    server that is starting. Raises ConfigurationError for TLS files that cannot be used.
    """

    def __init__(
        self,
        address: GrpcAddress,
        model: str,
        facts: EngineModelFacts,
        processes: ModelProcesses | None = None,
        connect_s: float = 10.0,
    ) -> None:
        self._address = address
        self._tls = None if address.tls is None else client_context(address.tls)
        self._model = model
        self._facts = facts
        self._processes = processes
        self._connect_s = connect_s
        self._running: dict[str, _Running] = {}
        self._lost: list[tuple[int, str]] = []
        self._connections: list[ModelConnection] = []
        self._lock = threading.Lock()
        self._deadlines = Deadlines(self._waits)
        self._waker = Waker()

    def info(self) -> EngineInfo:
        """The engine's facts, from its files."""
        facts = self._facts
        forms: FormKeeping = "text" if facts.guided else ""
        return EngineInfo("tensorrtllm", facts.max_context, facts.vocab_size, facts.honours, forms=forms)

    def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        """Sends sequences.

        Raises Unavailable without a server, EngineError where the server's TLS fails, InvalidRequest for what the model
        does not take.
        """
        sequences = [ModelSequence(request) for _, request in requests]
        messages = [self._encode(*one, sequence) for one, sequence in zip(requests, sequences, strict=True)]
        with self._lock:
            connection = self._ensure_connected()
            if self._processes is not None:
                self._processes.find()
            for (key, _), sequence in zip(requests, sequences, strict=True):
                self._running[str(key)] = _Running(key, connection, sequence)
            self._limit_wait(requests)
            for (key, _), message in zip(requests, messages, strict=True):
                self._send(connection, key, message)

    def cancel(self, key: int) -> None:
        """Cancels as stock does, by a second request with the same id and `stop`; its response is dropped."""
        running = self._running.pop(str(key), None)
        if running is not None:
            with contextlib.suppress(Unavailable):  # the connection has ended, and with it the sequence
                running.connection.send(str(key), self._infer_request(key, encode_stop_request(), OUTPUTS))

    def finish(self, key: int) -> bool:  # noqa: ARG002  the link's signature
        """False: every response is handed over as it comes."""
        return False

    def wake(self) -> None:
        """Makes a receive() that waits return at once."""
        self._waker.wake()

    def close(self) -> None:
        self._drop_all("the model is being unloaded")

    def receive(self, receiver: ChunkReceiver, timeout_s: float | None) -> None:
        """Gives `receiver` what has arrived, waiting up to `timeout_s` for something (None: until woken)."""
        if not self._lost:
            self._receive(receiver, self._patience(timeout_s))
        if self._lost:
            self._give_up(receiver)
        with self._lock:
            late = list(self._deadlines.passed())
        for key in late:
            self.cancel(key)
            receiver.on_refusal(key, Unavailable(_LATE))

    def _receive(self, receiver: ChunkReceiver, timeout_s: float | None) -> None:
        processes = self._processes.descriptors if self._processes is not None else []
        watched: list[Any] = [self._waker, *self._connections, *processes]
        for ready in select.select(watched, [], [], timeout_s)[0]:
            if isinstance(ready, ModelConnection):
                self._read(ready, receiver)
            elif ready is self._waker:
                self._waker.clear()
            elif not self._replaced():
                self._drop_all("its process has ended")

    def _replaced(self) -> bool:
        with self._lock:
            return self._processes is not None and self._processes.replaced()

    def _encode(self, key: int, request: EngineRequest, sequence: ModelSequence) -> bytes:
        streaming = self._facts.decoupled and request.sampling.beam_width == 1
        arrays = encode_engine_request(request, self._facts.inputs, streaming, self._facts.vocab_size)
        return self._infer_request(key, arrays, sequence.outputs)

    def _infer_request(self, key: int, arrays: Arrays, outputs: Sequence[str]) -> bytes:
        parameters = {FINAL_RESPONSE: True} if self._facts.decoupled else {}
        return encode_infer_request(self._model, arrays, outputs, str(key), parameters)

    def _send(self, connection: ModelConnection, key: int, message: bytes) -> None:
        try:
            connection.send(str(key), message)
        except Unavailable as error:
            self._running.pop(str(key), None)
            self._lost.append((key, str(error)))
            self.wake()

    def _limit_wait(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        """The model does not report when a sequence gets a slot, so a timeout applies to the first response."""
        for key, request in requests:
            if request.queue_timeout_s is not None:
                self._deadlines.add(key, request.queue_timeout_s)
                self.wake()

    def _waits(self, key: int) -> bool:
        running = self._running.get(str(key))
        return running is not None and not running.sequence.begun

    def _patience(self, timeout_s: float | None) -> float | None:
        with self._lock:
            waits = [seconds for seconds in (timeout_s, self._deadlines.wait_s()) if seconds is not None]
        return min(waits, default=None)

    @property
    def _where(self) -> str:
        return f"{self._address.host}:{self._address.port}"

    def _ensure_connected(self) -> ModelConnection:
        deadline = time.monotonic() + self._connect_s
        while not (self._connections and self._connections[-1].usable):
            try:
                self._connections.append(ModelConnection(self._address, self._facts.decoupled, self._tls))
                self.wake()
            except ssl.SSLError as error:
                raise EngineError(f"the server's own gRPC ({self._where}) fails in TLS: {error}") from error
            except OSError:
                if time.monotonic() > deadline:
                    raise Unavailable(
                        f"the server's own gRPC ({self._where}) does not answer; it may be starting"
                    ) from None
                time.sleep(0.02)
        return self._connections[-1]

    def _read(self, connection: ModelConnection, receiver: ChunkReceiver) -> None:
        responses, over = connection.receive()
        for response in responses:
            running = self._running.get(response.request_id)
            if running is not None:
                self._take(running, response, receiver)
            elif response.error:
                _log.warning("the engine model sent an error for an unknown request: %s", response.error)
        if over or not (connection.usable or self._carries(connection)):
            with self._lock:
                self._drop(connection, over)

    def _take(self, running: _Running, response: InferResponse, receiver: ChunkReceiver) -> None:
        if response.final or response.error:
            self._running.pop(response.request_id, None)
            if response.error and (refusal := running.sequence.refusal(response.error)):
                receiver.on_refusal(running.key, refusal)
                return
        try:
            for chunk in running.sequence.take(response):
                receiver.on_chunk(running.key, chunk)
        except Exception as error:  # a response that cannot be read fails its own request only
            self._running.pop(response.request_id, None)
            reason = f"the engine's model answered what cannot be read: {error!r}"
            receiver.on_chunk(running.key, TokenChunk([], finish="error", error=reason))

    def _carries(self, connection: ModelConnection) -> bool:
        return any(running.connection is connection for running in list(self._running.values()))

    def _drop_all(self, reason: str) -> None:
        with self._lock:
            if self._processes is not None:
                self._processes.close()
            for connection in list(self._connections):
                self._drop(connection, reason)

    def _drop(self, connection: ModelConnection, reason: str) -> None:
        """Closes a connection; its sequences are lost."""
        if connection in self._connections:
            self._connections.remove(connection)
            connection.close()
        for name, running in list(self._running.items()):
            if running.connection is connection and self._running.pop(name, None) is not None:
                self._lost.append((running.key, f"the engine's model is out of reach: {reason}"))
        self.wake()

    def _give_up(self, receiver: ChunkReceiver) -> None:
        with self._lock:
            lost, self._lost = self._lost, []
        for key, reason in lost:
            receiver.on_refusal(key, Unavailable(f"{reason}; try again"))
