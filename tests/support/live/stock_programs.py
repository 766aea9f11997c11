"""Programs in the idiom of stock's clients: they read an answer by position and know no output but stock's.

`output[0].decode()`, `batch_index[0][0]`, a queue that is emptied when the stream has been closed, `Streaming` beside the
inputs, a stop that is a request with the same id. They fail, as those programs do, on any other shape.
"""

from __future__ import annotations

import json
import queue
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from qwen_triton.tensors.contract import TENSORRT_LLM
from tests.support.live.servers import LiveServer

WAIT_S = 60.0
REQUEST_ID = "12345"


def text_inputs(
    prompt: str, tokens: int, *, stream: bool, seed: int, n: int | None = None, **more: Any
) -> dict[str, Any]:
    """The arrays [1, 1] of one prompt; `more`: other inputs of stock, each a value or a list."""
    arrays = {
        "text_input": np.array([[prompt]]).astype(object),
        "max_tokens": np.array([[tokens]], dtype=np.int32),
        "stream": np.array([[stream]], dtype=bool),
        "beam_width": np.array([[1]], dtype=np.int32),
        "temperature": np.array([[1.0]], dtype=np.float32),
        "random_seed": np.array([[seed]], dtype=np.uint64),
    }
    if n is not None:
        arrays["num_return_sequences"] = np.array([[n]], dtype=np.int32)
    return arrays | {name: _array(value) for name, value in more.items()}


def id_inputs(ids: Sequence[int], tokens: int, *, stream: bool, seed: int, n: int | None = None) -> dict[str, Any]:
    """The same of a prompt in token ids, for the engine model."""
    arrays = {
        "input_ids": np.array([ids], dtype=np.int32),
        "input_lengths": np.array([[len(ids)]], dtype=np.int32),
        "request_output_len": np.array([[tokens]], dtype=np.int32),
        "beam_width": np.array([[1]], dtype=np.int32),
        "temperature": np.array([[1.0]], dtype=np.float32),
        "streaming": np.array([[stream]], dtype=bool),
        "random_seed": np.array([[seed]], dtype=np.uint64),
    }
    return arrays if n is None else {**arrays, "num_return_sequences": np.array([[n]], dtype=np.int32)}


def stop_inputs() -> dict[str, Any]:
    """A stop: lengths of zero, and ids that mean nothing."""
    return {
        "input_ids": np.empty([1, 1], dtype=np.int32),
        "input_lengths": np.zeros([1, 1], dtype=np.int32),
        "request_output_len": np.array([[0]], dtype=np.int32),
        "stop": np.array([[True]], dtype=bool),
    }


def _array(value: Any) -> Any:
    values = np.array([value if isinstance(value, list) else [value]])
    if values.dtype.kind in "US":
        return values.astype(object)
    return values.astype({"i": np.int32, "f": np.float32, "b": bool}[values.dtype.kind])


def stack(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The rows of a batch as one request."""
    given = list(rows)
    return {name: np.concatenate([row[name] for row in given], axis=0) for name in given[0]}


def tensors(library: Any, arrays: Mapping[str, Any]) -> list[Any]:
    """Inputs for tritonclient's `library` (its grpc or http module)."""
    made = []
    for name, array in arrays.items():
        tensor = library.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        made.append(tensor)
    return made


def grpc_texts(
    server: LiveServer, model: str, rows: Sequence[Mapping[str, Any]], *, n: int | None = None, streaming: bool = False
) -> list[list[str]]:
    """Texts by row and sequence from a gRPC stream. Asks for text_output, and for the indexes where there are several."""
    names = ["text_output", *(["sequence_index"] if (n or 1) > 1 else []), *(["batch_index"] if len(rows) > 1 else [])]
    texts = [[""] * (n or 1) for _ in rows]
    for result in _grpc_results(server, model, stack(rows), names):
        output = result.as_numpy("text_output")
        batch_index = result.as_numpy("batch_index")
        row = 0 if batch_index is None else batch_index[0][0]
        sequence_index = result.as_numpy("sequence_index")
        sequence = 0 if sequence_index is None else sequence_index[0][0]
        new = output[0].decode("utf-8")
        texts[row][sequence] = texts[row][sequence] + new if streaming else new
    return texts


def grpc_ids(
    server: LiveServer, rows: Sequence[Mapping[str, Any]], *, n: int = 1, streaming: bool = False
) -> list[list[list[int]]]:
    """Ids by row and sequence from a gRPC stream to the engine model, which is asked for no outputs by name."""
    ids: list[list[list[int]]] = [[[] for _ in range(n)] for _ in rows]
    for result in _grpc_results(server, TENSORRT_LLM, stack(rows), None):
        row, sequence = result.as_numpy("batch_index")[0][0], result.as_numpy("sequence_index")[0][0]
        length = result.as_numpy("sequence_length")[0][0]
        new = list(result.as_numpy("output_ids")[0][0][:length])
        ids[row][sequence] = ids[row][sequence] + new if streaming else new
    return [[list(map(int, sequence)) for sequence in row] for row in ids]


def responses(server: LiveServer, model: str, arrays: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every response of one request on a gRPC stream, as its outputs' arrays by name. Raises InferenceServerException."""
    results = _grpc_results(server, model, arrays, None)
    return [{o.name: result.as_numpy(o.name) for o in result.get_response().outputs} for result in results]


def _grpc_results(server: LiveServer, model: str, arrays: Mapping[str, Any], names: Sequence[str] | None) -> list[Any]:
    """Every response of one request; the stream is closed first, then the queue is emptied. Raises the first error."""
    done: queue.Queue[Any] = queue.Queue()
    outputs = None if names is None else [triton_grpc.InferRequestedOutput(name) for name in names]
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: done.put(error or result), stream_timeout=WAIT_S)
        client.async_stream_infer(model, tensors(triton_grpc, arrays), outputs=outputs, request_id="1")
        client.stop_stream()
    results = []
    while not done.empty():
        result = done.get(block=False)
        if isinstance(result, InferenceServerException):
            raise result
        results.append(result)
    return results


def infer_texts(server: LiveServer, model: str, arrays: Mapping[str, Any], protocol: str) -> list[str]:
    """The texts of one infer call, `protocol` grpc or http, in the order in which they stand in text_output."""
    result = _infer(server, model, arrays, protocol)
    return [text.decode() for text in result.as_numpy("text_output")]


def infer_ids(server: LiveServer, arrays: Mapping[str, Any], protocol: str) -> list[list[int]]:
    """The ids of one infer call to the engine model, which carries `Streaming` as stock's whole requests do."""
    result = _infer(server, TENSORRT_LLM, arrays, protocol, parameters={"Streaming": False})
    ids, lengths = result.as_numpy("output_ids"), result.as_numpy("sequence_length")
    return [[int(i) for i in beam[: lengths[r][b]]] for r, beams in enumerate(ids) for b, beam in enumerate(beams)]


def _infer(server: LiveServer, model: str, arrays: Mapping[str, Any], protocol: str, **more: Any) -> Any:
    if protocol == "http":
        with triton_http.InferenceServerClient(server.http, network_timeout=WAIT_S) as http_client:
            return http_client.infer(model, tensors(triton_http, arrays), request_id="1", **more)
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        return client.infer(model, tensors(triton_grpc, arrays), request_id="1", client_timeout=WAIT_S, **more)


def three_steps(server: LiveServer, prompt: str, tokens: int, protocol: str) -> str:
    """preprocessing, tensorrt_llm and postprocessing called one after the other, as stock's end-to-end test does."""
    empty = np.array([[""]], dtype=object)
    prepared = _infer(
        server,
        "preprocessing",
        {
            "QUERY": np.array([[prompt]]).astype(object),
            "BAD_WORDS_DICT": empty,
            "STOP_WORDS_DICT": empty,
            "REQUEST_OUTPUT_LEN": np.array([[tokens]], np.int32),
        },
        protocol,
    )
    inputs = {
        "input_ids": prepared.as_numpy("INPUT_ID"),
        "input_lengths": prepared.as_numpy("REQUEST_INPUT_LEN"),
        "request_output_len": prepared.as_numpy("REQUEST_OUTPUT_LEN"),
        "random_seed": np.array([[7]], np.uint64),
    }
    generated = _infer(server, TENSORRT_LLM, inputs, protocol)
    tokens_batch = {
        "TOKENS_BATCH": generated.as_numpy("output_ids"),
        "SEQUENCE_LENGTH": generated.as_numpy("sequence_length"),
    }
    return str(_infer(server, "postprocessing", tokens_batch, protocol).as_numpy("OUTPUT")[0].decode())


def curl(server: LiveServer, model: str, endpoint: str, **body: Any) -> list[dict[str, Any]]:
    """A generate endpoint's answers, all events of a stream. Raises HTTPError."""
    data = json.dumps(body).encode()
    with urllib.request.urlopen(f"http://{server.http}/v2/models/{model}/{endpoint}", data, timeout=WAIT_S) as reply:
        text = reply.read().decode()
    if endpoint == "generate":
        return [json.loads(text)]
    return [json.loads(event[6:]) for event in text.splitlines() if event.startswith("data: ")]


class StoppedIds:
    """A streamed request to the engine model on one gRPC stream, stopped by a second request some time after it began."""

    def __init__(self, server: LiveServer, ids: Sequence[int], tokens: int) -> None:
        self.ids: list[int] = []
        self.finish = ""
        self.errors: list[str] = []
        self.without_outputs = 0
        done: queue.Queue[Any] = queue.Queue()
        begun = threading.Event()

        def callback(result: Any, error: Any) -> None:
            done.put(error or result)
            begun.set()

        with triton_grpc.InferenceServerClient(server.grpc) as client:
            client.start_stream(callback=callback, stream_timeout=WAIT_S)
            inputs = tensors(triton_grpc, id_inputs(ids, tokens, stream=True, seed=7))
            client.async_stream_infer(TENSORRT_LLM, inputs, request_id=REQUEST_ID)
            assert begun.wait(WAIT_S)
            stop = tensors(triton_grpc, stop_inputs())
            client.async_stream_infer(TENSORRT_LLM, stop, request_id=REQUEST_ID, parameters={"Streaming": True})
            client.stop_stream()
        while not done.empty():
            self._read(done.get(block=False))

    def _read(self, result: Any) -> None:
        if isinstance(result, InferenceServerException):
            self.errors.append(str(result))
            return
        output_ids = result.as_numpy("output_ids")
        if output_ids is None:
            self.without_outputs += 1
            return
        self.ids += map(int, output_ids[0][0])
        if (finish := result.as_numpy("finish_reason")) is not None:
            self.finish = finish[0][0].decode()


def send_stop(server: LiveServer, request_id: str, arrays: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
    """The answer to a stop on a gRPC stream of its own: a result, or the error."""
    done: queue.Queue[Any] = queue.Queue()
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: done.put(error or result), stream_timeout=WAIT_S)
        inputs = tensors(triton_grpc, arrays)
        client.async_stream_infer(TENSORRT_LLM, inputs, request_id=request_id, parameters=dict(parameters))
        answer = done.get(timeout=WAIT_S)
        client.stop_stream()
    return answer


def leave(server: LiveServer, model: str, arrays: Mapping[str, Any], protocol: str) -> None:
    """Asks for a stream and goes away after its first response: a cancelled gRPC stream, or a closed HTTP connection."""
    if protocol == "http":
        body = {name: array.reshape(-1).tolist() for name, array in arrays.items()}
        data = json.dumps({name: v[0] if len(v) == 1 else v for name, v in body.items()}).encode()
        path = f"http://{server.http}/v2/models/{model}/generate_stream"
        with urllib.request.urlopen(path, data, timeout=WAIT_S) as reply:
            assert reply.readline().startswith(b"data: ")
        return
    done: queue.Queue[Any] = queue.Queue()
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(callback=lambda result, error: done.put(error or result), stream_timeout=WAIT_S)
        client.async_stream_infer(model, tensors(triton_grpc, arrays), request_id="1")
        first = done.get(timeout=WAIT_S)
        client.stop_stream(cancel_requests=True)
    assert not isinstance(first, InferenceServerException), first


def stopped_whole(
    server: LiveServer, ids: Sequence[int], tokens: int, running: Callable[[], bool]
) -> tuple[list[Any], list[str]]:
    """Two async calls to an engine model that answers whole: a request and, once it runs, its stop. Results and errors."""
    done: queue.Queue[Any] = queue.Queue()
    parameters = {"Streaming": False}
    with triton_grpc.InferenceServerClient(server.grpc) as client:

        def call(arrays: Mapping[str, Any]) -> None:
            client.async_infer(
                TENSORRT_LLM,
                tensors(triton_grpc, arrays),
                request_id=REQUEST_ID,
                callback=lambda result, error: done.put(error or result),
                parameters=parameters,
            )

        call(id_inputs(ids, tokens, stream=False, seed=7))
        deadline = time.monotonic() + WAIT_S
        while not running() and time.monotonic() < deadline:
            time.sleep(0.02)
        call(stop_inputs())
        answers = [done.get(timeout=WAIT_S) for _ in range(2)]
    errors = [str(a) for a in answers if isinstance(a, InferenceServerException)]
    return [a for a in answers if not isinstance(a, InferenceServerException)], errors
