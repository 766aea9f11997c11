"""Requests to a Triton model by every endpoint, for live tests: generate, generate_stream, KServe infer, gRPC streams.

Inputs are plain values by tensor name; a scalar is one row's value, a list fills a tensor of any length. Results are plain
too: {name: value}, a single value where a tensor has one element.
"""

from __future__ import annotations

import json
import queue
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from qwen_triton.tensors import contract
from tests.support.live.servers import LiveServer

WAIT_S = 60.0
_INPUTS = {
    contract.ENSEMBLE: contract.ENSEMBLE_INPUTS,
    contract.BLS: contract.BLS_INPUTS,
    contract.PREPROCESSING: contract.PREPROCESSING_INPUTS,
    contract.TENSORRT_LLM: contract.ENGINE_INPUTS,
    contract.POSTPROCESSING: contract.POSTPROCESSING_INPUTS,
}
_DTYPES = {"STRING": object, "BOOL": bool, "FP32": np.float32, "FP16": np.float16}


class Refused(Exception):
    """The server answered with an error: `status` is HTTP's code or gRPC's name for it."""

    def __init__(self, message: str, status: int | str) -> None:
        super().__init__(message)
        self.status = status


def generate(server: LiveServer, model: str, /, **inputs: Any) -> dict[str, Any]:
    """POST …/generate: the one JSON answer. Raises Refused."""
    with _post(server, f"/v2/models/{model}/generate", inputs) as reply:
        return dict(json.load(reply))


def generate_stream(server: LiveServer, model: str, /, **inputs: Any) -> list[dict[str, Any]]:
    """POST …/generate_stream with `stream`: every event of the SSE answer, an {"error": …} event included."""
    with _post(server, f"/v2/models/{model}/generate_stream", {"stream": True, **inputs}) as reply:
        return [json.loads(line[6:]) for line in reply if line.startswith(b"data: ")]


def _post(server: LiveServer, path: str, body: Mapping[str, Any] | bytes) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        return urllib.request.urlopen(f"http://{server.http}{path}", data, timeout=WAIT_S)
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")
        raise Refused(_reason(text), error.code) from None


def _reason(text: str) -> str:
    try:
        return str(json.loads(text)["error"])
    except (ValueError, KeyError):
        return text


def infer_http(server: LiveServer, model: str, /, *rows: Mapping[str, Any], request_id: str = "") -> dict[str, Any]:
    """KServe infer over HTTP with one row a mapping, all with the same inputs (models that are not decoupled only)."""
    with triton_http.InferenceServerClient(server.http, network_timeout=WAIT_S) as client:
        try:
            result = client.infer(model, inputs(triton_http, model, rows), request_id=request_id)
        except InferenceServerException as error:
            raise Refused(error.message(), error.status() or "") from None
        names = [output["name"] for output in result.get_response()["outputs"]]
        return {name: plain(result.as_numpy(name)) for name in names}


def infer_grpc(server: LiveServer, model: str, /, *rows: Mapping[str, Any], request_id: str = "") -> dict[str, Any]:
    """KServe infer over gRPC with one row a mapping (models that are not decoupled only)."""
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        try:
            sent = inputs(triton_grpc, model, rows)
            return _outputs(client.infer(model, sent, request_id=request_id, client_timeout=WAIT_S))
        except InferenceServerException as error:
            raise Refused(error.message(), error.status() or "") from None


def stream_grpc(
    server: LiveServer, model: str, /, *rows: Mapping[str, Any], request_id: str = ""
) -> list[dict[str, Any]]:
    """All responses of one request over a gRPC stream; a row a mapping. Raises Refused for an error response."""
    return _stream(server, model, inputs(triton_grpc, model, rows), request_id)


def stream_arrays(server: LiveServer, model: str, arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The same with arrays sent as they are, whatever the model declares; objects are BYTES."""
    tensors = [triton_grpc.InferInput(n, list(a.shape), np_to_triton_dtype(a.dtype)) for n, a in arrays.items()]
    for tensor, array in zip(tensors, arrays.values(), strict=True):
        tensor.set_data_from_numpy(array)
    return _stream(server, model, tensors)


def _stream(server: LiveServer, model: str, sent: list[Any], request_id: str = "") -> list[dict[str, Any]]:
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        arrived: queue.Queue[Any] = queue.Queue()
        client.start_stream(lambda result, error: arrived.put(error or result), stream_timeout=WAIT_S)
        client.async_stream_infer(model, sent, request_id=request_id, enable_empty_final_response=True)
        responses: list[dict[str, Any]] = []
        while True:
            item = arrived.get(timeout=WAIT_S)
            if isinstance(item, InferenceServerException):
                raise Refused(item.message(), item.status() or "")
            if item.get_response().outputs:
                responses.append(_outputs(item))
            if item.get_response().parameters["triton_final_response"].bool_param:
                return responses


def _outputs(result: Any) -> dict[str, Any]:
    return {output.name: plain(result.as_numpy(output.name)) for output in result.get_response().outputs}


def arrays(model: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, Any]]:
    """{input: (its KServe datatype, its array)} of a batch with one row a mapping."""
    declared = {tensor.name: tensor.dtype.removeprefix("TYPE_") for tensor in _INPUTS[model]}
    by_name = {}
    for name in rows[0]:
        kind = declared[name]
        values = [row[name] if isinstance(row[name], list) else [row[name]] for row in rows]
        array = np.array(values, dtype=_DTYPES.get(kind) or np.dtype(kind.lower()))
        by_name[name] = "BYTES" if kind == "STRING" else kind, array
    return by_name


def inputs(library: Any, model: str, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
    """tritonclient's inputs (`library`: tritonclient.grpc or .http) of a batch with one row a mapping."""
    tensors = []
    for name, (kind, array) in arrays(model, rows).items():
        tensor = library.InferInput(name, list(array.shape), kind)
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    return tensors


def plain(array: Any) -> Any:
    """An output as nested lists (strings decoded), or its value where it has only one."""
    values = array.tolist() if array is not None else None
    if array is not None and array.size == 1:
        values = array.reshape(-1)[0]
        values = values if isinstance(values, bytes) else values.item()
    return _decoded(values)


def _decoded(values: Any) -> Any:
    if isinstance(values, list):
        return [_decoded(value) for value in values]
    return values.decode("utf-8") if isinstance(values, bytes) else values
