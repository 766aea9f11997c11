"""Every input of every model with values, shapes and types that it does not take: refused, and nobody is harmed."""

from __future__ import annotations

import http.client
import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from qwen_triton.tensors.contract import BLS, ENSEMBLE, INPUTS, POSTPROCESSING, PREPROCESSING, TENSORRT_LLM, Tensor
from tests.live.conftest import Serve
from tests.support.live.client import generate
from tests.support.live.hostile_values import VALUES, WITHIN_TEXT, body
from tests.support.live.servers import LiveServer
from tests.support.live.unharmed import unharmed

pytestmark = pytest.mark.live

ASKED: dict[str, dict[str, object]] = {
    BLS: {"text_input": "x", "max_tokens": 1},
    ENSEMBLE: {"text_input": "x", "max_tokens": 1},
    PREPROCESSING: {"QUERY": "x"},
    POSTPROCESSING: {"TOKENS_BATCH": [1], "SEQUENCE_LENGTH": [1]},
    TENSORRT_LLM: {"input_ids": [1, 2], "input_lengths": 2, "request_output_len": 1},
}
_TRITON_S_OWN = re.compile(r"Unable to parse|failed to parse the request JSON|Expected JSON object|request params")
"""tritonserver 2.51 answers 500 for JSON that is none, or that does not fit the declared type: no model sees it."""
_SHAPES: tuple[list[int], ...] = (
    [],
    [0],
    [0, 1],
    [1, 0],
    [2, 1],
    [1, 2],
    [1, 1, 1],
    [-1, 1],
    [1 << 62, 4],
    [1] * 9,
)
_RAW = (b"", b"\1", b"\1\0\0\0x", b"\xff\xff\xff\xff", bytes(64))
_REFUSED = ("INVALID_ARGUMENT", "UNIMPLEMENTED", "")


@pytest.fixture(scope="module")
def server(serve: Serve, qwen25_folder: Path) -> LiveServer:
    return serve({"model": str(qwen25_folder), "engine": {"kind": "replay"}})


def post(connection: http.client.HTTPConnection, path: str, data: bytes) -> tuple[int, str]:
    connection.request("POST", path, data)
    reply = connection.getresponse()
    return reply.status, reply.read().decode("utf-8", "replace")


@pytest.mark.parametrize("model", ASKED)
def test_values_that_no_input_takes(server: LiveServer, model: str) -> None:
    """Over HTTP. What reaches a model is answered or is the caller's fault; none is an internal error."""
    connection, wrong = http.client.HTTPConnection(server.http, timeout=60), []
    with unharmed(server):
        for name in (*(tensor.name for tensor in INPUTS[model]), "id", "parameters", "priority", "no_such_name"):
            for value in (*VALUES, *WITHIN_TEXT):
                status, said = post(connection, f"/v2/models/{model}/generate", body(ASKED[model], name, value))
                if status not in (200, 400) and not _TRITON_S_OWN.search(said):
                    wrong.append((name, value[:60], status, said[:200]))
    assert wrong == []


def tensor_of(request: Any, tensor: Tensor, shape: list[int], raw: bytes, kind: str = "") -> None:
    own = tensor.dtype.removeprefix("TYPE_").replace("STRING", "BYTES")
    request.inputs.add(name=tensor.name, datatype=kind or own, shape=shape)
    request.raw_input_contents.append(raw)


def errors(stub: service_pb2_grpc.GRPCInferenceServiceStub, request: Any, within_s: float = 20.0) -> tuple[str, str]:
    """The status of a stream of one request, and what it said."""
    try:
        said = [reply.error_message for reply in stub.ModelStreamInfer(iter([request]), timeout=within_s)]
    except grpc.RpcError as error:
        return error.code().name, error.details()
    return "", "; ".join(said)


@pytest.mark.parametrize("model", ASKED)
def test_shapes_and_types_that_no_input_has(server: LiveServer, model: str) -> None:
    """Over gRPC, with and without what the model requires. A batch of no rows ended tritonserver 2.51."""
    required = [tensor for tensor in INPUTS[model] if not tensor.optional]
    wrong = []
    with unharmed(server), grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for number, tensor in enumerate(INPUTS[model]):
            for shape in _SHAPES:
                kind = ("", "BYTES", "INT32", "FP32", "NONE")[number % 5]
                request = service_pb2.ModelInferRequest(model_name=model)
                tensor_of(request, tensor, shape, _RAW[number % len(_RAW)], kind)
                empty = service_pb2.ModelInferRequest(model_name=model)
                for each in (tensor, *(r for r in required if r is not tensor)):
                    tensor_of(empty, each, [*shape[:1], *(max(d, 1) for d in each.dims)], b"")
                for asked in (request, empty):
                    code, said = errors(stub, asked)
                    if code not in _REFUSED or "internal error" in said:
                        wrong.append((tensor.name, shape, code, said[:200]))
    assert wrong == []


@pytest.mark.parametrize(("model", "name"), [(BLS, "stop_words"), (PREPROCESSING, "STOP_WORDS_DICT")])
def test_a_batch_of_nothing_waits_alone(server: LiveServer, model: str, name: str) -> None:
    """tritonserver 2.51 never gives such a request to its model; who sends it waits for its own deadline, and nobody else."""
    (tensor,) = [tensor for tensor in INPUTS[model] if tensor.name == name]
    with unharmed(server), grpc.insecure_channel(server.grpc) as channel:
        request = service_pb2.ModelInferRequest(model_name=model)
        tensor_of(request, tensor, [0, 0], b"")
        code, said = errors(service_pb2_grpc.GRPCInferenceServiceStub(channel), request, within_s=2.0)
    assert code == "DEADLINE_EXCEEDED" or "is missing" in said


@pytest.mark.parametrize("model", ASKED)
def test_envelopes_that_no_request_has(server: LiveServer, model: str) -> None:
    """No input, the same one twice, too many and too few contents, odd parameters, versions and ids; outputs without end."""
    first = INPUTS[model][0]
    wrong = []
    with unharmed(server), grpc.insecure_channel(server.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)

        def check(name: str, request: Any) -> None:
            code, said = errors(stub, request)
            if code not in (*_REFUSED, "NOT_FOUND") or "internal error" in said:
                wrong.append((name, code, said[:200]))

        def one() -> Any:
            request = service_pb2.ModelInferRequest(model_name=model)
            tensor_of(request, first, [1, 1], b"\1\0\0\0x")
            return request

        check("no input", service_pb2.ModelInferRequest(model_name=model))
        twice, many, few, outputs, both = one(), one(), one(), one(), one()
        tensor_of(twice, first, [1, 1], b"\1\0\0\0x")
        many.raw_input_contents.append(b"x")
        few.inputs.add(name=first.name, datatype="BYTES", shape=[1, 1])
        both.inputs[0].contents.bytes_contents.append(b"y")
        for number in range(20_000):
            outputs.outputs.add(name=f"none{number % 3}")
        for name, request in {"twice": twice, "many": many, "few": few, "outputs": outputs, "both": both}.items():
            check(name, request)
        for name, value in {"priority": -1, "timeout": -1, "sequence_id": -1, "x": 2**63 - 1}.items():
            odd = one()
            odd.parameters[name].int64_param = value
            check(name, odd)
        for value in (float("nan"), float("inf")):
            odd = one()
            odd.parameters["x"].double_param = value
            check(f"{value}", odd)
        shared = one()
        shared.inputs[0].parameters["shared_memory_region"].string_param = "none"
        shared.inputs[0].parameters["shared_memory_byte_size"].int64_param = 1 << 40
        check("shared memory", shared)
        for version in ("\0", "9" * 30, "-1"):
            check(version, service_pb2.ModelInferRequest(model_name=model, model_version=version))
    assert wrong == []
    assert generate(server, BLS, text_input="still", max_tokens=4)["text_output"] == "still"
