"""Triton over gRPC: every request on one stream, as bytes that are parsed once and read no further than needed.

Answers carry the request's number as their id. The last response of a request is marked by the server.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from tritonclient.grpc import service_pb2

from qwen_triton.kserve.connection import GrpcConnection
from qwen_triton.kserve.events import Event, Message

from ..prompts.prompt import Prompt
from .model_facts import SERVICE, ModelFacts
from .target import Counts, Sink, error_kind
from .triton_request import IDS_LENGTH, TEXT, Dialect, Input

_FORMATS = {"INT32": "i", "BOOL": "?", "UINT64": "Q", "FP32": "f"}


_READ = 1 << 20
_CONNECT_S = 10.0


class GrpcStream:
    """A target. `url` is HOST:PORT of Triton's gRPC."""

    def __init__(self, url: str, model: ModelFacts, kind: str, streamed: bool) -> None:
        self.streamed = streamed
        self._model = model.name
        self._dialect = Dialect(kind, model, streamed)
        self._sink: Sink | None = None
        host, _, port = url.rpartition(":")
        self._stream = Http2Stream(host, int(port), f"{SERVICE}/ModelStreamInfer", self._take, self._lost)

    def send(self, request: int, prompt: Prompt, sink: Sink) -> None:
        self._sink = sink
        encoded = encode_request(self._model, str(request), self._dialect.inputs(prompt), self._dialect.outputs)
        self._stream.send(encoded.SerializeToString())

    def close(self) -> None:
        self._sink = None
        self._stream.close()

    def _lost(self, reason: str) -> None:
        if self._sink is not None:
            self._sink.lost(error_kind(reason))

    def _take(self, data: bytes) -> None:
        sink = self._sink
        if sink is None:
            return
        message = service_pb2.ModelStreamInferResponse.FromString(data)
        response = message.infer_response
        request = int(response.id)
        if message.error_message:
            sink.failed(request, error_kind(message.error_message))
            return
        outputs = {t.name: raw for t, raw in zip(response.outputs, response.raw_output_contents, strict=True)}
        text = outputs.get(TEXT)
        if text is not None:
            content = text[4:]
            sink.received(request, content, len(content))
        elif IDS_LENGTH in outputs:
            sink.received(request, b"", struct.unpack_from("<i", outputs[IDS_LENGTH])[0])
        if response.parameters["triton_final_response"].bool_param:
            sink.ended(request, _counts(outputs))


def _counts(outputs: dict[str, bytes]) -> Counts:
    def number(name: str) -> int | None:
        raw = outputs.get(name)
        return int.from_bytes(raw[:4], "little") if raw else None

    finish = outputs.get("finish_reason", b"")[4:].decode()
    return Counts(number("num_input_tokens"), number("num_output_tokens"), number("num_cached_tokens"), finish or None)


def encode_request(
    model: str, name: str, inputs: list[Input], outputs: tuple[str, ...]
) -> service_pb2.ModelInferRequest:
    """One row of inputs as a request; the raw contents stand in the inputs' order."""
    request = service_pb2.ModelInferRequest(model_name=model, id=name)
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    for i in inputs:
        request.inputs.add(name=i.name, datatype=i.datatype, shape=[1, len(i.values)])
        request.raw_input_contents.append(_raw(i))
    for output in outputs:
        request.outputs.add(name=output)
    return request


def _raw(i: Input) -> bytes:
    if i.datatype == "BYTES":
        return b"".join(struct.pack("<I", len(v)) + v for v in i.values)
    return struct.pack(f"<{len(i.values)}{_FORMATS[i.datatype]}", *i.values)


class Http2Stream:
    """A call to `path`. `on_message` gets each message's bytes, `on_end` once why nothing more comes; on one thread."""

    def __init__(
        self, host: str, port: int, path: str, on_message: Callable[[bytes], None], on_end: Callable[[str], None]
    ) -> None:
        self._on_message = on_message
        self._on_end = on_end
        self._lock = threading.Lock()
        self._socket = socket.create_connection((host, port), _CONNECT_S)
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connection = GrpcConnection(f"{host}:{port}")
        self._call = self._connection.open(path)
        self._write()
        self._reader = threading.Thread(target=self._read, name="answers", daemon=True)
        self._reader.start()

    def send(self, message: bytes) -> None:
        """Sends a message, or keeps it until the server has room; any thread."""
        with self._lock:
            self._connection.send(self._call, message)
            self._write()

    def close(self) -> None:
        """Breaks the call off: the server sees a cancelled call."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.reset(self._call)
            self._write()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._socket.close()

    def _write(self) -> None:
        if data := self._connection.data_to_send():
            self._socket.sendall(data)

    def _read(self) -> None:
        reason = "the connection was closed"
        try:
            while data := self._socket.recv(_READ):
                if ended := self._take(self._receive(data)):
                    reason = ended
                    break
        except OSError as error:
            reason = str(error)
        self._on_end(reason)

    def _receive(self, data: bytes) -> list[Event]:
        with self._lock:
            events = self._connection.receive(data)
            self._write()
        return events

    def _take(self, events: list[Event]) -> str:
        """Hands the messages on; why the call has ended, if it has."""
        for event in events:
            if isinstance(event, Message):
                self._on_message(event.data)
            else:
                return event.message or f"grpc-status {event.code}"
        return ""
