"""Triton's targets against a server of the same service: requests, answers, counts, errors, a lost connection."""

from __future__ import annotations

import queue
from collections.abc import Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc

from qwen_triton.errors import ConfigurationError
from qwen_triton.kserve.declared_model import DeclaredInput, DeclaredModel
from qwen_triton.tensors.arrays import encode_raw, encode_strings
from qwen_triton.tensors.contract import (
    BLS,
    BLS_INPUTS,
    BLS_OUTPUTS,
    ENGINE_INPUTS,
    ENGINE_OUTPUTS,
    TENSORRT_LLM,
    Tensor,
)
from qwen_triton.tensors.text_outputs import encode_text_piece
from qwen_triton.types import TextChunk, Usage
from qwen_triton_bench.prompts.prompt import Prompt
from qwen_triton_bench.targets.http_answers import AnswerError
from qwen_triton_bench.targets.server_facts import ServerFacts
from qwen_triton_bench.targets.target import Counts
from qwen_triton_bench.targets.triton_grpc import GrpcTarget
from qwen_triton_bench.targets.triton_http import _Answer
from qwen_triton_bench.targets.triton_request import PromptEncoder

WAIT_S = 20.0


def declared(name: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> DeclaredModel:
    return DeclaredModel(name, {t.name: DeclaredInput(t.dtype, True) for t in inputs}, tuple(t.name for t in outputs))


TEXT_MODEL = declared(BLS, BLS_INPUTS, BLS_OUTPUTS)
ENGINE = declared(TENSORRT_LLM, ENGINE_INPUTS, ENGINE_OUTPUTS)


class Received:
    """A listener that notes what it is told."""

    def __init__(self) -> None:
        self.events: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def on_response(self, request: int, content: bytes, size: int) -> None:
        self.events.put((request, content, size))

    def on_end(self, request: int, counts: Counts) -> None:
        self.events.put((request, counts))

    def on_error(self, request: int, kind: str) -> None:
        self.events.put((request, kind))

    def on_lost(self, reason: str) -> None:
        self.events.put((reason,))

    def take(self, n: int) -> list[tuple[Any, ...]]:
        return [self.events.get(timeout=WAIT_S) for _ in range(n)]


def response(request_id: str, arrays: dict[str, Any], final: bool = False) -> Any:
    message = service_pb2.ModelInferResponse(id=request_id)
    message.parameters["triton_final_response"].bool_param = final
    for name, array in arrays.items():
        message.outputs.add(name=name, shape=array.shape)
        message.raw_output_contents.append(encode_raw(array))
    return service_pb2.ModelStreamInferResponse(infer_response=message)


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # generated without types
    """Answers texts with «你好», ids with two; «fail» with an error, «leave» by breaking the stream off."""

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def ModelStreamInfer(self, requests: Any, context: Any) -> Iterator[Any]:  # noqa: N802  the protocol's name
        for request in requests:
            self.requests.append(request)
            texts = {i.name: raw[4:] for i, raw in zip(request.inputs, request.raw_input_contents, strict=True)}
            if texts.get("text_input") == b"fail":
                error = service_pb2.ModelStreamInferResponse(error_message="max_tokens: 9 is too large")
                error.infer_response.id = request.id
                yield error
            elif texts.get("text_input") == b"leave":
                context.abort(grpc.StatusCode.UNAVAILABLE, "leaving 7")
            elif "text_input" in texts:
                yield response(request.id, encode_text_piece(TextChunk("你")))
                chunk = TextChunk("好", finish="length", usage=Usage(7, 2, 1))
                yield response(request.id, encode_text_piece(chunk), final=True)
            else:
                yield response(request.id, {"output_ids": np.array([[[5, 6]]], np.int32), **_length(2)})
                yield response(request.id, {}, final=True)

    def ServerMetadata(self, _: Any, __: Any) -> Any:  # noqa: N802
        return service_pb2.ServerMetadataResponse(name="triton", version="2.51.0")

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.name != "preprocessing":
            context.abort(grpc.StatusCode.NOT_FOUND, "Request for unknown model")
        config = model_config_pb2.ModelConfig(name=request.name, max_batch_size=4)
        config.input.add(name="PROMPT_FORMAT")
        return service_pb2.ModelConfigResponse(config=config)

    def ModelInfer(self, request: Any, _: Any) -> Any:  # noqa: N802
        self.requests.append(request)
        ids, lengths = np.array([[1, 2, 0], [3, 4, 5]], np.int32), np.array([[2], [3]], np.int32)
        return response("", {"INPUT_ID": ids, "REQUEST_INPUT_LEN": lengths}).infer_response


def _length(n: int) -> dict[str, Any]:
    return {"sequence_length": np.array([[n]], np.int32)}


@pytest.fixture
def server() -> Iterator[tuple[Service, str]]:
    service, server = Service(), grpc.server(futures.ThreadPoolExecutor(4))
    service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield service, f"127.0.0.1:{port}"
    server.stop(None)


def test_answers_in_text(server: tuple[Service, str]) -> None:
    """Bytes of each piece, and the counts at the end; an error is the request's alone."""
    target, received = GrpcTarget(server[1], TEXT_MODEL, BLS, True), Received()
    target.send(3, Prompt(4, text="hi"), received)
    assert received.take(3) == [(3, "你".encode(), 3), (3, "好".encode(), 3), (3, Counts(7, 2, 1, "length"))]
    target.send(4, Prompt(4, text="fail"), received)
    assert received.take(1) == [(4, "max_tokens: N is too large")]
    target.send(5, Prompt(4, text="hi"), received)
    assert received.take(3)[2] == (5, Counts(7, 2, 1, "length"))
    target.close()
    (request, *_) = server[0].requests
    assert (int(request.id) % 2**32, request.model_name) == (3, BLS)
    assert {i.name for i in request.inputs} >= {"text_input", "max_tokens", "stream", "ignore_eos", "prompt_format"}
    assert {o.name for o in request.outputs} == {
        "text_output", "finish_reason", "num_input_tokens", "num_output_tokens", "num_cached_tokens",
    }  # fmt: skip


def test_answers_in_token_ids(server: tuple[Service, str]) -> None:
    """How many ids came; a model that tells no counts has none."""
    target, received = GrpcTarget(server[1], ENGINE, TENSORRT_LLM, True), Received()
    target.send(0, Prompt(4, token_ids=[1, 2, 3]), received)
    assert received.take(2) == [(0, b"", 2), (0, Counts())]
    target.close()


def test_a_stream_that_ends_is_lost(server: tuple[Service, str]) -> None:
    """For all requests, with the server's reason."""
    target, received = GrpcTarget(server[1], TEXT_MODEL, BLS, True), Received()
    target.send(0, Prompt(4, text="leave"), received)
    assert received.take(1) == [("leaving N",)]
    target.close()


def test_a_model_without_our_inputs_gets_stock_s() -> None:
    """An answer of an exact length without `ignore_eos`; what it does not declare is left out."""
    stock = declared("stock", [t for t in BLS_INPUTS if t.name in ("text_input", "min_length", "stream")], BLS_OUTPUTS)
    arrays = PromptEncoder(BLS, stock, streamed=True).encode(Prompt(4, text="hi"))
    assert {n: a.tolist() for n, a in arrays.items()} == {
        "text_input": [[b"hi"]],
        "min_length": [[4]],
        "stream": [[True]],
    }
    with pytest.raises(ConfigurationError, match="is not a tensorrt_llm model: it has no output output_ids"):
        PromptEncoder(TENSORRT_LLM, stock, streamed=True)


def test_events_of_http_are_read_as_grpc_s_responses() -> None:
    """Text or ids, counts once they come."""
    received = Received()
    answer = _Answer(2, received)
    answer.on_event({"model_name": "m", "text_output": "你"})
    counts = {"finish_reason": "stop", "num_input_tokens": 7, "num_output_tokens": 2, "num_cached_tokens": 0}
    answer.on_event({"text_output": "", "stop_reason": "null"} | counts)
    answer.on_end()
    assert received.take(3) == [(2, "你".encode(), 3), (2, b"", 0), (2, Counts(7, 2, 0, "stop"))]
    ids = _Answer(3, received)
    ids.on_event({"output_ids": [5, 6], "sequence_length": 2})
    ids.on_event({"output_ids": 7, "sequence_length": 1} | counts)
    ids.on_end()
    assert received.take(3) == [(3, b"", 2), (3, b"", 1), (3, Counts(7, 2, 0, "stop"))]
    with pytest.raises(AnswerError, match="no N tokens"):
        ids.on_event({"error": "no 9 tokens"})


def test_facts_of_a_server(server: tuple[Service, str]) -> None:
    """Its name, its models, its tokens; with the remedy where nothing answers."""
    facts = ServerFacts(server[1])
    assert facts.server() == "triton 2.51.0"
    assert facts.model("preprocessing").max_batch_size == 4
    assert facts.token_ids(["a", "b"]) == [[1, 2], [3, 4, 5]]
    request = server[0].requests[0]
    assert [i.name for i in request.inputs] == ["QUERY", "REQUEST_OUTPUT_LEN", "PROMPT_FORMAT"]
    assert request.raw_input_contents[0] == encode_raw(encode_strings([["a"], ["b"]]))
    with pytest.raises(ConfigurationError, match="Request for unknown model"):
        facts.model("nope")
    for protocol, name in (("grpc", "gRPC"), ("http", "HTTP")):
        with pytest.raises(ConfigurationError, match=f"no Triton server answers {name} at 127.0.0.1:9; start one"):
            ServerFacts("127.0.0.1:9", protocol).server()
