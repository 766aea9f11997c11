"""Triton over gRPC, as much of it as the shim needs. One stream for each request: ending it cancels the request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.generate_arrays import encode_generate
from qwen_triton.tensors import Arrays
from qwen_triton.types import GenerateRequest

from ..error_text import error_of
from .generations import Generation
from .infer_message import encode_request, raw_outputs
from .pieces import LOGPROBS, OUTPUTS, Piece, decode_pieces

Metadata = Sequence[tuple[str, str]]

_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Backend(Protocol):
    """What the shim needs of a server."""

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: Metadata = ()
    ) -> Generation:
        """Sends a request."""

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        """One answer of a model that is not decoupled, its raw outputs by name."""

    async def ready(self, model: str) -> bool:
        """Whether the server and the model can answer."""

    async def close(self) -> None:
        """Ends the connection."""


def line_error(error: grpc.aio.AioRpcError) -> QwenTritonError:
    """A gRPC status as the error that was raised behind it."""
    code, text = error.code(), error.details() or ""
    if code == grpc.StatusCode.INVALID_ARGUMENT:
        return InvalidRequest(text)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.RESOURCE_EXHAUSTED):
        return Unavailable(text if text and "failed to connect" not in text else "the model server does not answer")
    if code == grpc.StatusCode.CANCELLED:
        return Cancelled(text)
    return EngineError(text)


class GrpcGeneration:
    """A ModelStreamInfer call that carries one request."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._taken_back = False

    async def read(self) -> list[Piece]:
        try:
            message = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise line_error(error) from None
        except asyncio.CancelledError:
            if self._taken_back:  # the library's way to say so; otherwise it is our own task that is cancelled
                raise Cancelled("the request was taken back") from None
            raise
        if message is grpc.aio.EOF:
            return []
        if message.error_message:
            raise error_of(message.error_message)
        return decode_pieces(raw_outputs(message.infer_response))

    def cancel(self) -> None:
        self._taken_back = True
        self._call.cancel()


class GrpcTriton:
    """A `Backend` over one connection."""

    def __init__(self, url: str) -> None:
        self._channel = grpc.aio.insecure_channel(url, _OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._decoupled: dict[str, bool] = {}

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: Metadata = ()
    ) -> GrpcGeneration:
        if request.stream and not await self._sends_pieces(model):
            request = replace(request, stream=False)
        outputs = OUTPUTS if request.sampling.logprobs is None else (*OUTPUTS, LOGPROBS)
        message = encode_request(model, encode_generate(request), outputs, request_id)
        call = self._stub.ModelStreamInfer(metadata=tuple(metadata))
        try:
            await call.write(message)
            await call.done_writing()
        except grpc.aio.AioRpcError as error:
            raise line_error(error) from None
        except BaseException:
            call.cancel()
            raise
        return GrpcGeneration(call)

    async def _sends_pieces(self, model: str) -> bool:
        """Whether the model is decoupled; one that is not gives its whole answer in one piece. Asked once."""
        if model not in self._decoupled:
            try:
                reply = await self._stub.ModelConfig(service_pb2.ModelConfigRequest(name=model))
            except grpc.aio.AioRpcError as error:
                raise line_error(error) from None
            self._decoupled[model] = reply.config.model_transaction_policy.decoupled
        return self._decoupled[model]

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        try:
            return raw_outputs(await self._stub.ModelInfer(encode_request(model, arrays)))
        except grpc.aio.AioRpcError as error:
            raise line_error(error) from None

    async def ready(self, model: str) -> bool:
        try:
            server = await self._stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=2)
            loaded = await self._stub.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=2)
        except grpc.aio.AioRpcError:
            return False
        return bool(server.ready and loaded.ready)

    async def close(self) -> None:
        await self._channel.close()
