"""The door to an engine that is a Triton model and not ours, as NVIDIA's backend: through the server's own gRPC.

Triton's own way from model to model, `exec`, takes a thread for each request and locks up under hundreds of them. Here
all requests go over one connection, made at the first of them: the server takes gRPC only after its models are loaded.
"""

from __future__ import annotations

import contextlib
import logging
import select
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import Unavailable
from ...kserve.messages import InferResponse, encode_infer_request
from ...tensors.arrays import Arrays
from ...tensors.engine_inputs import encode_engine_request, encode_stop_request
from ...tensors.engine_outputs import LOG_PROB_OUTPUTS, OUTPUTS
from ...types import EngineRequest, TokenChunk
from ..deadlines import Deadlines
from ..engine import EngineInfo
from ..link import ChunkReceiver
from ..process.socket import Waker
from .connection import ModelConnection
from .facts import EngineModelFacts
from .processes import ModelProcesses
from .sequence import ModelSequence
from .server_address import GrpcAddress

LATE = "the engine said nothing within the request's timeout; try again later"
_log = logging.getLogger(__name__)


def backend_info(facts: EngineModelFacts) -> EngineInfo:
    """What a request to such an engine is checked against, by whichever door it goes."""
    return EngineInfo("tensorrtllm", facts.max_context, facts.vocab_size)


@dataclass(frozen=True, slots=True)
class _Running:
    """A sequence in the engine, and over which connection it is heard of."""

    key: int
    connection: ModelConnection
    sequence: ModelSequence


class ModelClient:
    """A `EngineLink`. `processes`: the model's, if it has any. `connect_s`: how long a submit waits for a starting server."""

    def __init__(
        self,
        address: GrpcAddress,
        model: str,
        facts: EngineModelFacts,
        processes: ModelProcesses | None = None,
        connect_s: float = 10.0,
    ) -> None:
        self._address = address
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
        """The engine's facts, from its files: nothing is asked of it."""
        return backend_info(self._facts)

    def submit(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        """Sends sequences. Raises Unavailable without a server, InvalidRequest for what the model does not take."""
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
        """Stock's way: a second request with the same id, which says stop. What it answers is not looked at."""
        running = self._running.pop(str(key), None)
        if running is not None:
            with contextlib.suppress(Unavailable):  # its connection is ending, and with it the sequence
                running.connection.send(str(key), self._infer_request(key, encode_stop_request(), OUTPUTS))

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
            receiver.on_refusal(key, Unavailable(LATE))

    def _receive(self, receiver: ChunkReceiver, timeout_s: float | None) -> None:
        processes = self._processes.descriptors if self._processes is not None else []
        watched: list[Any] = [self._waker, *self._connections, *processes]
        for ready in select.select(watched, [], [], timeout_s)[0]:
            if isinstance(ready, ModelConnection):
                self._read(ready, receiver)
            elif ready is self._waker:
                self._waker.clear()
            else:
                self._drop_all("its process has ended")

    def _encode(self, key: int, request: EngineRequest, sequence: ModelSequence) -> bytes:
        streaming = self._facts.decoupled and request.sampling.beam_width == 1
        arrays = encode_engine_request(request, self._facts.inputs, streaming, self._facts.vocab_size)
        return self._infer_request(key, arrays, OUTPUTS if sequence.plain else (*OUTPUTS, *LOG_PROB_OUTPUTS))

    def _infer_request(self, key: int, arrays: Arrays, outputs: Sequence[str]) -> bytes:
        parameters = {"triton_enable_empty_final_response": True} if self._facts.decoupled else {}
        return encode_infer_request(self._model, arrays, outputs, str(key), parameters)

    def _send(self, connection: ModelConnection, key: int, message: bytes) -> None:
        try:
            connection.send(str(key), message)
        except Unavailable as error:
            self._running.pop(str(key), None)
            self._lost.append((key, str(error)))
            self.wake()

    def _limit_wait(self, requests: Sequence[tuple[int, EngineRequest]]) -> None:
        """The model does not say when a sequence has a slot: with a timeout its first response must be there by then."""
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

    def _ensure_connected(self) -> ModelConnection:
        deadline = time.monotonic() + self._connect_s
        while not (self._connections and self._connections[-1].usable):
            try:
                self._connections.append(ModelConnection(self._address, self._facts.decoupled))
                self.wake()
            except OSError:
                if time.monotonic() > deadline:
                    where = f"{self._address.host}:{self._address.port}"
                    raise Unavailable(f"the server's own gRPC ({where}) does not answer; it may be starting") from None
                time.sleep(0.02)
        return self._connections[-1]

    def _read(self, connection: ModelConnection, receiver: ChunkReceiver) -> None:
        responses, over = connection.receive()
        for response in responses:
            running = self._running.get(response.request_id)
            if running is not None:
                self._take(running, response, receiver)
            elif response.error:
                _log.warning("the engine's model answered no request that is known: %s", response.error)
        if over or not (connection.usable or self._carries(connection)):
            with self._lock:
                self._drop(connection, over)

    def _take(self, running: _Running, response: InferResponse, receiver: ChunkReceiver) -> None:
        if response.final or response.error:
            self._running.pop(response.request_id, None)
        try:
            for chunk in running.sequence.take(response):
                receiver.on_chunk(running.key, chunk)
        except Exception as error:  # whatever one response holds, the others go on
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
        """Ends a connection; its sequences are lost."""
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
            receiver.on_chunk(key, TokenChunk([], finish="error", error=reason))
