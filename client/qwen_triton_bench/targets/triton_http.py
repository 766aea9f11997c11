"""Triton over HTTP: `generate_stream` for answers in pieces, `generate` for whole ones."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..prompts.prompt import Prompt
from .http_answers import AnswerError, HttpAnswers
from .model_facts import ModelFacts
from .target import Counts, Sink, error_kind
from .triton_request import IDS_LENGTH, TEXT, Dialect, Input


class TritonHttp:
    """A target. `url` is HOST:PORT of Triton's HTTP."""

    def __init__(self, url: str, model: ModelFacts, kind: str, streamed: bool) -> None:
        self.streamed = streamed
        self._dialect = Dialect(kind, model, streamed)
        self._url = f"http://{url}/v2/models/{model.name}/generate{'_stream' if streamed else ''}"
        self._http = HttpAnswers({})

    def send(self, request: int, prompt: Prompt, sink: Sink) -> None:
        body = {i.name: _value(i) for i in self._dialect.inputs(prompt)}
        last: dict[str, Any] = {}
        self._http.post(
            self._url,
            body,
            sink,
            request,
            partial(_take, sink, request, last),
            lambda: sink.ended(request, _counts(last)),
        )

    def close(self) -> None:
        self._http.close()


def _take(sink: Sink, request: int, last: dict[str, Any], event: dict[str, Any]) -> None:
    if "error" in event:
        raise AnswerError(error_kind(str(event["error"])))
    if TEXT in event:
        content = str(event[TEXT]).encode()
        sink.received(request, content, len(content))
    elif IDS_LENGTH in event:
        sink.received(request, b"", int(event[IDS_LENGTH]))
    last.update(event)


def _counts(event: dict[str, Any]) -> Counts:
    names = ("num_input_tokens", "num_output_tokens", "num_cached_tokens", "finish_reason")
    return Counts(*(event.get(name) for name in names))


def _value(i: Input) -> Any:
    values = [v.decode() if isinstance(v, bytes) else v for v in i.values]
    return values if len(values) > 1 else values[0]
