"""Transport over Triton's HTTP: its generate endpoints, which alone stream and serve decoupled models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import httpx

from qwen_triton.errors import Cancelled
from qwen_triton.kserve.declared_model import DeclaredModel, decode_model_config_json
from qwen_triton.kserve.messages import DATATYPES
from qwen_triton.kserve.server_key import key_headers
from qwen_triton.tensors.arrays import Arrays, encode_raw
from qwen_triton.tensors.text_outputs import TextPiece, decode_text_body

from .event_lines import event_data
from .transport import transport_error, unreachable

_CONNECT_S = 10.0
_INFER_S = 60.0
_HEAD_LENGTH = "Inference-Header-Content-Length"
_SIZE = "binary_data_size"
_SHOWN = 200


def encode_body(arrays: Arrays, request_id: str = "") -> dict[str, Any]:
    """Arrays of one row as the generate endpoints' JSON: a value, or a list of values."""
    body: dict[str, Any] = {"id": request_id} if request_id else {}
    for name, array in arrays.items():
        values = [v.decode("utf-8") if isinstance(v, bytes) else v for v in array.reshape(-1).tolist()]
        body[name] = values[0] if len(values) == 1 else values
    return body


def encode_binary_request(arrays: Arrays, outputs: Sequence[str]) -> tuple[bytes, bytes]:
    """An infer request by Triton's binary tensor extension: its JSON, and the raw contents that follow it."""
    contents = {name: encode_raw(array) for name, array in arrays.items()}
    inputs = [
        {"name": n, "datatype": DATATYPES[a.dtype], "shape": a.shape, "parameters": {_SIZE: len(contents[n])}}
        for n, a in arrays.items()
    ]
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return json.dumps({"inputs": inputs, "outputs": wanted}).encode(), b"".join(contents.values())


def decode_binary_response(body: bytes, head_length: int) -> dict[str, bytes]:
    """Raw outputs by name; `head_length`: the bytes of JSON before them."""
    found, at = {}, head_length
    for output in json.loads(body[:head_length])["outputs"]:
        size = output["parameters"][_SIZE]
        found[output["name"]] = body[at : at + size]
        at += size
    return found


class HttpResponses:
    """A `ResponseStream` of a generate endpoint; the request is sent when it is read."""

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
            bodies = event_data(response.iter_bytes())
        else:
            bodies = iter([response.read().decode("utf-8", "replace")])
        for text in bodies:
            yield decode_text_body(_checked(text, response.status_code))


class HttpTransport:
    """A pool of connections. `url` is http://HOST:PORT or https://….

    Every request carries the key of the server that the environment names, if any. Raises ConfigurationError for a key
    that does not fit a header.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        timeout = httpx.Timeout(None, connect=_CONNECT_S)
        self._client = httpx.Client(base_url=self._url, timeout=timeout, headers=key_headers())

    def ready(self, model: str) -> bool:
        return self._get(f"/v2/models/{model}/ready").status_code == 200

    def describe(self, model: str) -> DeclaredModel:
        response = self._get(f"/v2/models/{model}/config")
        return decode_model_config_json(_checked(response.text, response.status_code))

    def server(self) -> str:
        response = self._get("/v2")
        body = _checked(response.text, response.status_code)
        return f"{body['name']} {body['version']}"

    def infer(self, model: str, arrays: Arrays, outputs: Sequence[str]) -> dict[str, bytes]:
        head, contents = encode_binary_request(arrays, outputs)
        headers = {_HEAD_LENGTH: str(len(head))}
        try:
            url = f"/v2/models/{model}/infer"
            response = self._client.post(url, content=head + contents, headers=headers, timeout=_INFER_S)
        except httpx.HTTPError as error:
            raise unreachable(self._url, str(error) or type(error).__name__) from None
        if response.status_code != 200:
            _checked(response.text, response.status_code)
        return decode_binary_response(response.content, int(response.headers[_HEAD_LENGTH]))

    def send(
        self, model: DeclaredModel, arrays: Arrays, outputs: Sequence[str], request_id: str, several: bool
    ) -> HttpResponses:
        del outputs  # the generate endpoints answer with all that a model has
        path = f"/v2/models/{model.name}/{'generate_stream' if several else 'generate'}"
        request = self._client.build_request("POST", path, json=encode_body(arrays, request_id))
        return HttpResponses(self._client, request, self._url)

    def close(self) -> None:
        self._client.close()

    def _get(self, path: str) -> httpx.Response:
        try:
            return self._client.get(path, timeout=_CONNECT_S)
        except httpx.HTTPError as error:
            raise unreachable(self._url, str(error) or type(error).__name__) from None


def _checked(text: str, status: int) -> dict[str, Any]:
    """The JSON object of a response. Raises the error that it tells."""
    try:
        body = json.loads(text)
    except ValueError:
        raise transport_error(status, text[:_SHOWN]) from None
    if not isinstance(body, dict) or "error" in body:
        raise transport_error(status, body.get("error") if isinstance(body, dict) else text[:_SHOWN])
    return body
