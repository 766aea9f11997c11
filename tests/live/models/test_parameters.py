"""Request parameters and forwarded headers on the real server: near misses of inputs are refused, all others pass."""

from __future__ import annotations

import http.client
import json
import queue
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tritonclient import grpc as triton_grpc
from tritonclient import http as triton_http
from tritonclient.utils import InferenceServerException

from qwen_triton.tensors.contract import BLS, ENSEMBLE, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM
from tests.support.live.client import Refused, generate, inputs
from tests.support.live.servers import LiveServer, serving

pytestmark = pytest.mark.live
MODELS = [ENSEMBLE, BLS, TENSORRT_LLM, PREPROCESSING, POSTPROCESSING]
both_models = pytest.mark.parametrize("model", [ENSEMBLE, BLS])
ASKED: dict[str, dict[str, Any]] = {
    ENSEMBLE: {"text_input": "hello"},
    BLS: {"text_input": "hello"},
    TENSORRT_LLM: {"input_ids": [1, 2, 3], "input_lengths": 3, "request_output_len": 3},
    PREPROCESSING: {"QUERY": "hello"},
    POSTPROCESSING: {"TOKENS_BATCH": [[1, 2, 3]], "SEQUENCE_LENGTH": 3},
}
ANSWERED = {
    ENSEMBLE: "text_output",
    BLS: "text_output",
    TENSORRT_LLM: "output_ids",
    PREPROCESSING: "INPUT_ID",
    POSTPROCESSING: "OUTPUT",
}
HEADERS = {
    "x-request-id": "7",
    "x-tenant": "a",
    "authorization": "Bearer x",
    "traceparent": "00-0-0-01",
    "cookie": "b=c",
}
INPUT = "is an input, not a parameter: send it among the inputs"


@pytest.fixture(scope="module", params=[True, False], ids=["decoupled", "not decoupled"])
def server(
    request: pytest.FixtureRequest, qwen25_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    """Forwards every header of both protocols."""
    deployment = {
        "model": str(qwen25_folder),
        "engine": {"kind": "replay"},
        "repository": {"decoupled": request.param},
    }
    flags = ["--http-header-forward-pattern=.*", "--grpc-header-forward-pattern=.*"]
    with serving(deployment, tmp_path_factory.mktemp("server"), flags=flags) as running:
        yield running


def is_decoupled(server: LiveServer, model: str) -> bool:
    return server.deployment.repository.decoupled and model not in (PREPROCESSING, POSTPROCESSING)


def ask(
    server: LiveServer, protocol: str, model: str, parameters: Mapping[str, Any], headers: Mapping[str, str]
) -> list[Any]:
    """The answers to a KServe infer, or of a decoupled model, which has no other way in, to a gRPC stream. Raises Refused."""
    if is_decoupled(server, model):
        return _streamed(server, model, parameters, headers)
    library: Any = triton_http if protocol == "http" else triton_grpc
    sent = inputs(library, model, [ASKED[model]])
    with library.InferenceServerClient(server.http if protocol == "http" else server.grpc) as client:
        try:
            result = client.infer(model, sent, parameters=dict(parameters), headers=dict(headers))
        except InferenceServerException as error:
            raise Refused(error.message(), error.status() or "") from None
        return [result.as_numpy(ANSWERED[model])]


def _streamed(server: LiveServer, model: str, parameters: Mapping[str, Any], headers: Mapping[str, str]) -> list[Any]:
    arrived: queue.Queue[Any] = queue.Queue()
    with triton_grpc.InferenceServerClient(server.grpc) as client:
        client.start_stream(lambda result, error: arrived.put(error or result), headers=dict(headers))
        sent = inputs(triton_grpc, model, [ASKED[model]])
        client.async_stream_infer(model, sent, parameters=dict(parameters), enable_empty_final_response=True)
        answers: list[Any] = []
        while True:
            item = arrived.get(timeout=60)
            if isinstance(item, InferenceServerException):
                raise Refused(item.message(), item.status() or "")
            if item.get_response().outputs:
                answers.append(item.as_numpy(ANSWERED[model]))
            if item.get_response().parameters["triton_final_response"].bool_param:
                return answers


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_forwarded_headers_and_keys_of_others_change_nothing(server: LiveServer, protocol: str, model: str) -> None:
    """Every header that a client or a proxy sends comes to the model as a parameter, beside «Host» and the like."""
    answers = ask(server, protocol, model, {"session_key": "s"}, HEADERS)
    assert [answer.size > 0 for answer in answers if answer is not None]


@pytest.mark.parametrize(
    ("model", "name", "message"),
    [
        (ENSEMBLE, "max_tokens", INPUT),
        (BLS, "max_tokens", INPUT),
        (TENSORRT_LLM, "request_output_len", INPUT),
        (PREPROCESSING, "QUERY", INPUT),
        (POSTPROCESSING, "SEQUENCE_LENGTH", INPUT),
        (ENSEMBLE, "best_of", f"is an input of {BLS}, not of this model: ask there or leave it out"),
        (TENSORRT_LLM, "max_tokens", f"is an input of {ENSEMBLE}, not of this model: ask there or leave it out"),
        (ENSEMBLE, "Max_Tokens", "no input has this name; did you mean max_tokens?"),
        (BLS, "temprature", "no input has this name; did you mean temperature?"),
        (TENSORRT_LLM, "request_output_lenght", "no input has this name; did you mean request_output_len?"),
    ],
)
def test_an_input_as_a_parameter_is_refused(server: LiveServer, model: str, name: str, message: str) -> None:
    with pytest.raises(Refused) as refusal:
        ask(server, "http", model, {name: 3}, {})
    assert str(refusal.value).removeprefix("in ensemble 'ensemble', ") == f"{name}: {message}"


@both_models
@pytest.mark.parametrize("name", ["max_token", "max_new_tokens", "stop", "n"])
def test_a_misspelt_key_of_a_generate_body_is_refused(server: LiveServer, model: str, name: str) -> None:
    with pytest.raises(Refused, match=f"{name}: no input has this name; did you mean ") as refusal:
        generate(server, model, text_input="hello", **{name: 3})
    assert refusal.value.status == 400


@both_models
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"text_input": "hello", "a\xff": 1}', "a\ufffd: a request parameter's name and value must be valid UTF-8"),
        (b'{"text_input": "hello", "key": "J\xe9"}', "key: a request parameter's name and value must be valid UTF-8"),
        (b'{"text_input": "hello", "id": "\xff"}', "id: is not valid UTF-8"),
    ],
)
def test_what_is_not_utf8_is_the_callers_fault(server: LiveServer, model: str, body: bytes, message: str) -> None:
    """No traceback, and no path of the server's files, in the answer; the next request is answered."""
    status, text = _post(server, f"/v2/models/{model}/generate", body)
    assert (status, json.loads(text)["error"].removeprefix("in ensemble 'ensemble', ")) == (400, message)
    assert generate(server, model, text_input="hello")["text_output"] == "hello"


def test_a_forwarded_header_that_is_not_utf8_is_named_without_its_value(server: LiveServer) -> None:
    body = {"inputs": [{"name": "QUERY", "datatype": "BYTES", "shape": [1, 1], "data": ["hello"]}]}
    status, text = _post(server, f"/v2/models/{PREPROCESSING}/infer", json.dumps(body).encode(), {"X-Name": b"J\xe9"})
    assert (status, json.loads(text)) == (
        400,
        {"error": "X-Name: a request parameter's name and value must be valid UTF-8"},
    )


def _post(server: LiveServer, path: str, body: bytes, headers: Mapping[str, bytes] = {}) -> tuple[int, str]:
    connection = http.client.HTTPConnection(server.http, timeout=60)
    try:
        connection.request("POST", path, body, dict(headers))
        reply = connection.getresponse()
        return reply.status, reply.read().decode()
    finally:
        connection.close()
