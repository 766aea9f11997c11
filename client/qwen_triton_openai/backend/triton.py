"""Triton over gRPC, as much of it as the shim needs. One stream for each request: ending it cancels the request.

The streams have a client of their own (see grpc_pool): the grpc package wakes two threads and three tasks for a message.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from qwen_triton.errors import EngineError, QwenTritonError
from qwen_triton.kserve.messages import INFER, decode_infer_response, encode_infer_request
from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.contract import BLS
from qwen_triton.tensors.text_inputs import encode_generate
from qwen_triton.tensors.text_outputs import LOGPROBS, TEXT_OUTPUTS
from qwen_triton.types import GenerateRequest

from .generation import Generation, GrpcGeneration, line_error
from .grpc_pool import GrpcPool, Metadata

_OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


class Backend(Protocol):
    """What the shim needs of a server."""

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: Metadata = ()
    ) -> Generation:
        """Sends a request."""

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        """One answer of a model that is not decoupled, its raw outputs by name."""

    async def fault(self, model: str) -> str:
        """Why the server or the model cannot answer; '' when they can."""

    async def close(self) -> None:
        """Ends the connection."""


def _line_error(error: grpc.aio.AioRpcError) -> QwenTritonError:
    return line_error(error.code().value[0], error.details() or "")


class GrpcTriton:
    """A `Backend`. Requests share one connection; what is asked once in a while has another. Raises ConfigurationError
    for a `url` that is not HOST:PORT."""

    def __init__(self, url: str) -> None:
        self._pool = GrpcPool(url)
        self._channel = grpc.aio.insecure_channel(url, _OPTIONS)
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        self._infer = self._channel.unary_unary(INFER)
        self._decoupled: dict[str, bool] = {}

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: Metadata = ()
    ) -> GrpcGeneration:
        if not await self._is_decoupled(model) and request.stream:
            request = replace(request, stream=False)  # its whole answer is one piece
        outputs = TEXT_OUTPUTS if request.sampling.logprobs is None else (*TEXT_OUTPUTS, LOGPROBS)
        message = encode_infer_request(model, encode_generate(request), outputs, request_id)
        generation = GrpcGeneration()
        await generation.begin(self._pool, message, metadata)
        return generation

    async def _is_decoupled(self, model: str) -> bool:
        """Asked once of a model that can be used. Raises EngineError for one that cannot."""
        if model not in self._decoupled:
            try:
                config = (await self._stub.ModelConfig(service_pb2.ModelConfigRequest(name=model))).config
            except grpc.aio.AioRpcError as error:
                raise _line_error(error) from None
            if lacking := sorted({*TEXT_OUTPUTS, LOGPROBS} - {output.name for output in config.output}):
                raise EngineError(
                    f"the Triton model {model} has no {', '.join(lacking)}; serve {BLS} under this name "
                    f"(openai.models, --model NAME={BLS})"
                )
            self._decoupled[model] = config.model_transaction_policy.decoupled
        return self._decoupled[model]

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        try:
            return decode_infer_response(await self._infer(encode_infer_request(model, arrays))).outputs
        except grpc.aio.AioRpcError as error:
            raise _line_error(error) from None

    async def fault(self, model: str) -> str:
        try:
            server = await self._stub.ServerReady(service_pb2.ServerReadyRequest(), timeout=2)
            loaded = await self._stub.ModelReady(service_pb2.ModelReadyRequest(name=model), timeout=2)
            if server.ready and loaded.ready:
                await self._is_decoupled(model)
                return ""
        except grpc.aio.AioRpcError:
            pass
        except QwenTritonError as error:
            return str(error)
        return "Triton or the model is not ready"

    async def close(self) -> None:
        self._pool.close()
        await self._channel.close()
