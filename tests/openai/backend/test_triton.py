"""The shim's way to Triton over real gRPC, to a server of the same service that says what it is told."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.tensors.contract import BLS_OUTPUTS, ENSEMBLE_OUTPUTS
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import GenerateRequest
from qwen_triton_openai.backend.triton import GrpcTriton
from tests.support.grpc_service import BOUND_S, against

REQUEST = GenerateRequest(prompt="x", stream=True)


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A Triton with one model. `status`: what it ends a stream with after its piece, None = nothing more, for ever."""

    def __init__(self, status: grpc.StatusCode | None = grpc.StatusCode.OK, decoupled: bool = True) -> None:
        self.status = status
        self.decoupled = decoupled
        self.outputs = [t.name for t in BLS_OUTPUTS]
        self.ready = True
        self.requests: list[Any] = []
        self.metadata: dict[str, str] = {}
        self.cancelled = asyncio.Event()

    async def ModelConfig(self, _: Any, __: Any) -> Any:  # noqa: N802  the protocol's name
        reply = service_pb2.ModelConfigResponse()
        for name in self.outputs:
            reply.config.output.add().name = name
        reply.config.model_transaction_policy.decoupled = self.decoupled
        return reply

    async def ServerReady(self, _: Any, __: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=True)

    async def ModelReady(self, _: Any, __: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=self.ready)

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:  # noqa: N802
        self.metadata = dict(context.invocation_metadata())
        async for request in requests:
            self.requests.append(request)
            response = service_pb2.ModelInferResponse(raw_output_contents=[b"\x02\0\0\0hi"])
            response.outputs.add().name = "text_output"
            yield service_pb2.ModelStreamInferResponse(infer_response=response)
        try:
            if self.status is None:
                await asyncio.sleep(BOUND_S)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.status is not grpc.StatusCode.OK:
            await context.abort(self.status, "n: must be small")

    async def ModelInfer(self, request: Any, _: Any) -> Any:  # noqa: N802
        response = service_pb2.ModelInferResponse(raw_output_contents=list(request.raw_input_contents))
        response.outputs.add().name = "echo"
        return response


def test_a_request_and_its_pieces() -> None:
    """The request goes out with its id and metadata; pieces come until the end, which is empty."""
    service = Service()

    async def use(triton: GrpcTriton) -> None:
        generation = await triton.generate("m", REQUEST, request_id="7", metadata=(("traceparent", "t"),))
        assert await generation.read() == [TextPiece("hi")]
        assert await generation.read() == []

    against(service, GrpcTriton, use)
    (request,) = service.requests
    assert (request.model_name, request.id, service.metadata["traceparent"]) == ("m", "7", "t")
    assert {t.name for t in request.inputs} == {"text_input", "stream"}


def test_a_model_that_is_not_decoupled_is_not_asked_to_stream() -> None:
    """It would refuse; its whole answer is one piece."""
    service = Service(decoupled=False)

    async def use(triton: GrpcTriton) -> None:
        assert await (await triton.generate("m", REQUEST)).read() == [TextPiece("hi")]

    against(service, GrpcTriton, use)
    assert [t.name for t in service.requests[0].inputs] == ["text_input"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.NOT_FOUND, Unavailable),
        (grpc.StatusCode.CANCELLED, Cancelled),
        (grpc.StatusCode.INTERNAL, EngineError),
    ],
)
def test_a_status_is_the_error_behind_it(status: grpc.StatusCode, expected: type[QwenTritonError]) -> None:
    """What the model raised, the shim raises."""

    async def use(triton: GrpcTriton) -> None:
        generation = await triton.generate("m", REQUEST)
        assert await generation.read() == [TextPiece("hi")]
        with pytest.raises(expected, match="n: must be small"):
            await generation.read()

    against(Service(status), GrpcTriton, use)


def test_taking_back_reaches_the_server() -> None:
    """And whoever reads is told, without his own task being cancelled."""
    service = Service(None)

    async def use(triton: GrpcTriton) -> None:
        generation = await triton.generate("m", REQUEST)
        assert await generation.read() == [TextPiece("hi")]
        reading = asyncio.create_task(generation.read())
        await asyncio.sleep(0.02)
        generation.cancel()
        with pytest.raises(Cancelled):
            await reading
        await service.cancelled.wait()

    against(service, GrpcTriton, use)


def test_a_task_that_is_cancelled_is_cancelled() -> None:
    """It is not taken for a request that was taken back."""

    async def use(triton: GrpcTriton) -> None:
        generation = await triton.generate("m", REQUEST)
        await generation.read()
        reading = asyncio.create_task(generation.read())
        await asyncio.sleep(0.02)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    against(Service(None), GrpcTriton, use)


def test_a_server_that_is_away() -> None:
    """Unavailable, in all ways to ask; no gRPC prose reaches the caller."""

    async def run() -> None:
        triton = GrpcTriton("127.0.0.1:1")
        with pytest.raises(Unavailable, match="does not answer"):
            await (await triton.generate("m", REQUEST)).read()
        with pytest.raises(Unavailable, match="does not answer"):
            await triton.infer("m", {})
        assert await triton.fault("m") == "Triton or the model is not ready"
        await triton.close()

    asyncio.run(asyncio.wait_for(run(), BOUND_S))


def test_a_model_that_can_be_used_has_no_fault() -> None:
    """Once it is loaded."""
    service = Service()

    async def use(triton: GrpcTriton) -> None:
        service.ready = False
        assert await triton.fault("m") == "Triton or the model is not ready"
        service.ready = True
        assert await triton.fault("m") == ""

    against(service, GrpcTriton, use)


def test_a_model_without_the_outputs_is_refused_with_the_remedy() -> None:
    """The ensemble has none of those that only a model from end to end can have; one that is loaded later may."""
    service = Service()
    service.outputs = [t.name for t in ENSEMBLE_OUTPUTS]

    async def use(triton: GrpcTriton) -> None:
        said = (
            "the Triton model ensemble has no logprobs, num_reasoning_tokens, reasoning_opened, stop_reason, tool_format; "
            "serve tensorrt_llm_bls"
        )
        assert (await triton.fault("ensemble")).startswith(said)
        with pytest.raises(EngineError, match=said):
            await triton.generate("ensemble", REQUEST)
        service.outputs = [t.name for t in BLS_OUTPUTS]
        assert await triton.fault("ensemble") == ""

    against(service, GrpcTriton, use)
    assert service.requests == []
