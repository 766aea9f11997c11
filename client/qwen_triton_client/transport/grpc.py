"""Transport over Triton's gRPC. Each request has a stream of its own, so that it can be cancelled without the others."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence

from qwen_triton.errors import ConfigurationError, QwenTritonError, Unavailable
from qwen_triton.kserve.client import GrpcClient, MessageStream
from qwen_triton.kserve.connection import split_authority
from qwen_triton.kserve.declared_model import MODEL_CONFIG, DeclaredModel, decode_model_config
from qwen_triton.kserve.messages import (
    INFER,
    STREAM_INFER,
    decode_infer_response,
    decode_stream_response,
    encode_infer_request,
)
from qwen_triton.kserve.questions import (
    MODEL_READY,
    SERVER_METADATA,
    decode_ready,
    decode_server_name,
    encode_model_name,
)
from qwen_triton.kserve.status import CallError, ConnectError, error_of
from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.text_outputs import TextPiece, decode_text_outputs

from .transport import transport_error, unreachable

_QUESTION_S = 10.0
_INFER_S = 60.0


class GrpcResponses:
    """A `ResponseStream` of a STREAM_INFER call; or one that raises the error for which there is no call."""

    def __init__(self, call: MessageStream | QwenTritonError, url: str) -> None:
        self._call = call
        self._url = url

    def __iter__(self) -> Iterator[list[TextPiece]]:
        if isinstance(self._call, QwenTritonError):
            raise self._call
        try:
            for message in self._call:
                response = decode_stream_response(message)
                if response.error:
                    raise error_of(response.error)
                yield decode_text_outputs(response.outputs)
        except CallError as error:
            raise _converted(error, self._url) from None

    def cancel(self) -> None:
        if isinstance(self._call, MessageStream):
            self._call.cancel()


class GrpcTransport:
    """`url` is HOST:PORT. `secure`: TLS with the system's certificates. Raises ConfigurationError for a wrong `url`."""

    def __init__(self, url: str, secure: bool = False) -> None:
        try:
            host, port = split_authority(url)
        except ValueError as error:
            raise ConfigurationError(f"{error} for gRPC, or http://HOST:PORT") from None
        self._url = url
        self._client = GrpcClient(host, port, ssl.create_default_context() if secure else None)

    def ready(self, model: str) -> bool:
        return decode_ready(self._ask(MODEL_READY, encode_model_name(model)))

    def server(self) -> str:
        return decode_server_name(self._ask(SERVER_METADATA, b""))

    def describe(self, model: str) -> DeclaredModel:
        return decode_model_config(self._ask(MODEL_CONFIG, encode_model_name(model)))

    def infer(self, model: str, arrays: Arrays, outputs: Sequence[str]) -> dict[str, bytes]:
        return decode_infer_response(self._ask(INFER, encode_infer_request(model, arrays, outputs), _INFER_S)).outputs

    def send(
        self, model: DeclaredModel, arrays: Arrays, outputs: Sequence[str], request_id: str, several: bool
    ) -> GrpcResponses:
        del several  # one call serves both: the server ends it behind the last response
        request = encode_infer_request(model.name, arrays, outputs, request_id)
        try:
            return GrpcResponses(self._client.stream(STREAM_INFER, request), self._url)
        except CallError as error:
            return GrpcResponses(_converted(error, self._url), self._url)
        except Unavailable as error:
            return GrpcResponses(error, self._url)

    def close(self) -> None:
        self._client.close()

    def _ask(self, path: str, message: bytes, timeout_s: float = _QUESTION_S) -> bytes:
        try:
            return self._client.unary(path, message, timeout_s)
        except CallError as error:
            raise _converted(error, self._url) from None


def _converted(error: CallError, url: str) -> QwenTritonError:
    if isinstance(error, ConnectError):
        return unreachable(url, error.message)
    return transport_error(error.code.name, error.message)
