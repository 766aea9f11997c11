"""A Triton that may be on this machine: then text requests go to the model's processes over Unix sockets. All else is gRPC."""

from __future__ import annotations

from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.contract import LOGPROBS
from qwen_triton.tensors.text_inputs import encode_generate
from qwen_triton.tensors.text_outputs import wanted_text_outputs
from qwen_triton.types import GenerateRequest

from .generation import ModelGeneration
from .grpc_pool import Metadata
from .local_sockets import LocalSockets
from .triton import GrpcTriton


class LocalTriton:
    """A `Backend`. Requests to a model that has no process here, and those with metadata, go over gRPC as well. Raises
    ConfigurationError as GrpcTriton does."""

    def __init__(self, url: str) -> None:
        self._server = GrpcTriton(url)
        self._sockets = LocalSockets(self._server.local_sockets)

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: Metadata = ()
    ) -> ModelGeneration:
        connection = None if metadata else self._sockets.best(model)  # metadata is for Triton
        if connection is None:
            return await self._server.generate(model, request, request_id=request_id, metadata=metadata)
        generation = ModelGeneration()
        outputs = wanted_text_outputs(request, (LOGPROBS,))
        generation.send(connection, request_id, outputs, encode_generate(request))
        return generation

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        return await self._server.infer(model, arrays)

    async def fault(self, model: str) -> str:
        return await self._server.fault(model)

    async def close(self) -> None:
        self._sockets.close()
        await self._server.close()
