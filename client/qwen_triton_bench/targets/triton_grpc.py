"""Triton over gRPC as a target: all requests on one stream, as a client of many users would send them.

Responses carry the request's number as their id. The server marks the last response of a request.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from qwen_triton.kserve.connection import split_authority
from qwen_triton.kserve.declared_model import DeclaredModel
from qwen_triton.kserve.messages import FINAL_RESPONSE, STREAM_INFER, decode_stream_response, encode_infer_request
from qwen_triton.kserve.status import StatusCode
from qwen_triton.kserve.thread_socket import ThreadSocket
from qwen_triton.tensors.contract import SEQUENCE_LENGTH, TEXT_OUTPUT
from qwen_triton.tensors.text_outputs import decode_text_outputs
from qwen_triton.tensors.usage import decode_raw_end

from ..prompts.prompt import Prompt
from .target import AnswerListener, Counts, counts_of, error_kind
from .triton_request import PromptEncoder

_PARAMETERS = {FINAL_RESPONSE: True}
"""Has the server mark the last response of a request."""


class GrpcTarget:
    """A `Target`, and the `StreamListener` of its stream. `url` is HOST:PORT of Triton's gRPC. Raises OSError."""

    def __init__(self, url: str, model: DeclaredModel, kind: str, streamed: bool) -> None:
        self.streamed = streamed
        self._model = model.name
        self._encoder = PromptEncoder(kind, model, streamed)
        self._listener: AnswerListener | None = None
        self._first_id = secrets.randbits(31) << 32
        """Of the ids on the wire, which must not be those of another benchmark on the same server: it would be refused."""
        self._connection = ThreadSocket(*split_authority(url))
        self._stream_id = self._connection.open(STREAM_INFER, self)

    def send(self, request: int, prompt: Prompt, listener: AnswerListener) -> None:
        self._listener = listener
        encoder, name = self._encoder, str(self._first_id + request)
        message = encode_infer_request(self._model, encoder.encode(prompt), encoder.outputs, name, _PARAMETERS)
        self._connection.send(self._stream_id, message)

    def close(self) -> None:
        self._listener = None
        self._connection.close()

    def on_end(self, code: StatusCode, text: str) -> None:
        if self._listener is not None:
            self._listener.on_lost(error_kind(text or f"grpc-status {code}"))

    def on_message(self, message: bytes) -> None:
        listener = self._listener
        if listener is None:
            return
        response = decode_stream_response(message)
        request = int(response.request_id) - self._first_id
        if response.error:
            listener.on_error(request, error_kind(response.error))
            return
        if TEXT_OUTPUT in response.outputs:
            counts = _hand_text(listener, request, response.outputs)
        else:
            counts = _hand_ids(listener, request, response.outputs)
        if response.final:
            listener.on_end(request, counts)


_NO_COUNTS = Counts()


def _hand_text(listener: AnswerListener, request: int, outputs: Mapping[str, bytes]) -> Counts:
    counts = _NO_COUNTS
    for piece in decode_text_outputs(outputs):
        content = piece.text.encode()
        listener.on_response(request, content, len(content))
        if piece.finish is not None or piece.usage is not None:
            counts = counts_of(piece.finish, piece.usage)
    return counts


def _hand_ids(listener: AnswerListener, request: int, outputs: Mapping[str, bytes]) -> Counts:
    if (length := outputs.get(SEQUENCE_LENGTH)) is not None:
        listener.on_response(request, b"", int.from_bytes(length[:4], "little"))
    return counts_of(*decode_raw_end(outputs)) if len(outputs) > 2 else _NO_COUNTS
