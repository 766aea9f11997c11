"""Triton over HTTP: its generate endpoints, which stream and serve decoupled models; tritonclient's HTTP does neither."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from qwen_triton.errors import Cancelled
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.text_outputs import TextPiece, decode_text_body

from .model import DeclaredModel, decode_config
from .transport import unreachable, wire_error

_CONNECT_S = 10.0
_EVENT = "data: "
_SHOWN = 200


def encode_body(arrays: Mapping[str, Array], request_id: str = "") -> dict[str, Any]:
    """One row's arrays as the generate endpoint's JSON: a value, or a list of values."""
    body: dict[str, Any] = {"id": request_id} if request_id else {}
    for name, array in arrays.items():
        values = [v.decode("utf-8") if isinstance(v, bytes) else v for v in array.reshape(-1).tolist()]
        body[name] = values[0] if len(values) == 1 else values
    return body


class _HttpReply:
    def __init__(self, client: httpx.Client, request: httpx.Request, url: str) -> None:
        self._client = client
        self._request = request
        self._url = url
        self._response: httpx.Response | None = None
        self._cancelled = False

    def __iter__(self) -> Iterator[list[TextPiece]]:
        try:
            yield from self._responses()
        except (httpx.HTTPError, httpx.StreamError) as error:
            if self._cancelled:
                raise Cancelled("the request was cancelled") from None
            raise unreachable(self._url, str(error) or type(error).__name__) from None
        finally:
            self.cancel()

    def cancel(self) -> None:
        self._cancelled = True
        if self._response is not None:
            self._response.close()

    def _responses(self) -> Iterator[list[TextPiece]]:
        if self._cancelled:
            raise Cancelled("the request was cancelled")
        response = self._response = self._client.send(self._request, stream=True)
        bodies: Iterator[str]
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            bodies = (line[len(_EVENT) :] for line in response.iter_lines() if line.startswith(_EVENT))
        else:
            bodies = iter([response.read().decode("utf-8", "replace")])
        for text in bodies:
            yield decode_text_body(_checked(text, response.status_code))


class HttpWire:
    """One pool of connections. `url` is http://HOST:PORT or https://…."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(base_url=self._url, timeout=httpx.Timeout(None, connect=_CONNECT_S))

    def ready(self, model: str) -> bool:
        return self._get(f"/v2/models/{model}/ready").status_code == 200

    def describe(self, model: str) -> DeclaredModel:
        response = self._get(f"/v2/models/{model}/config")
        return decode_config(_checked(response.text, response.status_code))

    def send(
        self, model: DeclaredModel, arrays: Mapping[str, Array], outputs: Sequence[str], request_id: str, stream: bool
    ) -> _HttpReply:
        del outputs  # the generate endpoints give all a model has
        path = f"/v2/models/{model.name}/{'generate_stream' if stream else 'generate'}"
        request = self._client.build_request("POST", path, json=encode_body(arrays, request_id))
        return _HttpReply(self._client, request, self._url)

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str) -> httpx.Response:
        try:
            return self._client.get(path, timeout=_CONNECT_S)
        except httpx.HTTPError as error:
            raise unreachable(self._url, str(error) or type(error).__name__) from None


def _checked(text: str, status: int) -> dict[str, Any]:
    """The JSON object of an answer; raises what its error says."""
    try:
        body = json.loads(text)
    except ValueError:
        raise wire_error(status, text[:_SHOWN]) from None
    if not isinstance(body, dict) or "error" in body:
        raise wire_error(status, body.get("error") if isinstance(body, dict) else text[:_SHOWN])
    return body
