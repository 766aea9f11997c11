"""Triton over HTTP as a target: `generate_stream` for answers in pieces, `generate` for whole ones."""

from __future__ import annotations

from typing import Any

from qwen_triton.kserve.declared_model import DeclaredModel
from qwen_triton.kserve.server_key import key_headers
from qwen_triton.tensors.contract import SEQUENCE_LENGTH, TEXT_OUTPUT
from qwen_triton.tensors.text_outputs import decode_text_body
from qwen_triton.tensors.usage import decode_body_end
from qwen_triton_client.transport.http import encode_body

from ..prompts.prompt import Prompt
from .http_answers import AnswerError, HttpAnswers
from .target import AnswerListener, Counts, counts_of, error_kind
from .triton_request import PromptEncoder


class HttpTarget:
    """A `Target`. `url` is HOST:PORT of Triton's HTTP."""

    def __init__(self, url: str, model: DeclaredModel, kind: str, streamed: bool) -> None:
        self.streamed = streamed
        self._encoder = PromptEncoder(kind, model, streamed)
        self._url = f"http://{url}/v2/models/{model.name}/generate{'_stream' if streamed else ''}"
        self._http = HttpAnswers(key_headers())

    def send(self, request: int, prompt: Prompt, listener: AnswerListener) -> None:
        answer = _Answer(request, listener)
        body = encode_body(self._encoder.encode(prompt))
        self._http.post(self._url, body, listener, request, answer.on_event, answer.on_end)

    def close(self) -> None:
        self._http.close()


class _Answer:
    """One answer under way."""

    __slots__ = ("_counts", "_listener", "_request")

    def __init__(self, request: int, listener: AnswerListener) -> None:
        self._request = request
        self._listener = listener
        self._counts = Counts()

    def on_event(self, event: dict[str, Any]) -> None:
        if "error" in event:
            raise AnswerError(error_kind(str(event["error"])))
        if TEXT_OUTPUT in event:
            for piece in decode_text_body(event):
                content = piece.text.encode()
                self._listener.on_response(self._request, content, len(content))
                if piece.finish is not None or piece.usage is not None:
                    self._counts = counts_of(piece.finish, piece.usage)
            return
        if SEQUENCE_LENGTH in event:
            self._listener.on_response(self._request, b"", int(event[SEQUENCE_LENGTH]))
        finish, usage = decode_body_end(event)
        if finish is not None or usage is not None:
            self._counts = counts_of(finish, usage)

    def on_end(self) -> None:
        self._listener.on_end(self._request, self._counts)
