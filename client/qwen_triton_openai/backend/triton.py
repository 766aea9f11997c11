"""A Triton behind the shim, over gRPC. A request shares a call with others, and is cancelled by another request."""

from __future__ import annotations

import json
import secrets
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Protocol

from qwen_triton.errors import EngineError, QwenTritonError, Unavailable
from qwen_triton.kserve.declared_model import MODEL_CONFIG, decode_model_config
from qwen_triton.kserve.messages import FINAL_RESPONSE, INFER, Parameter, decode_infer_response, encode_infer_request
from qwen_triton.kserve.questions import MODEL_READY, SERVER_READY, decode_ready, encode_model_name
from qwen_triton.kserve.status import CallError
from qwen_triton.tensors.arrays import Array, Arrays
from qwen_triton.tensors.contract import BLS, LOGPROBS, TEXT_OUTPUT, TOOL_FORMAT
from qwen_triton.tensors.request_parameters import CALL, CANCEL_CALL, LOCAL_SOCKETS
from qwen_triton.tensors.text_inputs import encode_generate
from qwen_triton.tensors.text_outputs import TEXT_OUTPUTS, wanted_text_outputs
from qwen_triton.types import GenerateRequest, SamplingParams

from .generation import Generation, ModelGeneration, call_error
from .grpc_pool import GrpcPool, Metadata
from .shared_calls import CANCELLATION_ID, MOST_BYTES, SharedCalls

_READY_S = 2.0
"""How long the server may take to say whether it is ready."""


class Backend(Protocol):
    """What the shim needs of a server."""

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: Metadata = ()
    ) -> Generation:
        """Sends a request to a text model. Raises a QwenTritonError."""

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        """Raw outputs by name, the only response of a model that is not decoupled. Raises a QwenTritonError."""

    async def fault(self, model: str) -> str:
        """Why the server or the model cannot answer; '' when they can."""

    async def close(self) -> None:
        """Ends the connection."""


class GrpcTriton:
    """A `Backend`. Raises ConfigurationError for a `url` that is not HOST:PORT."""

    def __init__(self, url: str) -> None:
        self._pool = GrpcPool(url)
        self._calls = SharedCalls(self._pool)
        self._secret = secrets.token_hex(16)
        """Begins the names by which requests are cancelled: nobody else can cancel what it cannot name."""
        self._numbers = count()
        self._decoupled: dict[str, bool] = {}

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: Metadata = ()
    ) -> ModelGeneration:
        decoupled = await self._is_decoupled(model)
        if not decoupled and request.stream:
            request = replace(request, stream=False)  # the model's whole answer is one piece
        outputs = wanted_text_outputs(request, (LOGPROBS,))
        call = f"{self._secret}{next(self._numbers):x}"
        shared = decoupled and bool(request_id) and not metadata  # metadata belongs to a call
        parameters: dict[str, Parameter] = {CALL: call, FINAL_RESPONSE: True} if shared else {CALL: call}
        message = encode_infer_request(model, encode_generate(request), outputs, request_id, parameters)
        generation, cancellation = ModelGeneration(), partial(_cancellation, model, call)
        if shared and len(message) <= MOST_BYTES:
            await generation.join(self._calls, request_id, message, cancellation)
        else:
            await generation.begin(self._pool, message, metadata, cancellation)
        return generation

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        return decode_infer_response(await self._ask(INFER, encode_infer_request(model, arrays))).outputs

    async def fault(self, model: str) -> str:
        try:
            if await self._ready(model):
                await self._is_decoupled(model)
                return ""
        except QwenTritonError as error:
            return str(error)
        return "Triton or the model is not ready"

    async def close(self) -> None:
        self._pool.close()

    async def local_sockets(self, model: str) -> list[str]:
        """The addresses of the local servers of a model's processes; none of a model without them. Raises a QwenTritonError."""
        if not await self._is_decoupled(model):
            return []
        message = encode_infer_request(model, _nothing(), (TEXT_OUTPUT,), "", {LOCAL_SOCKETS: True})
        generation = ModelGeneration()
        await generation.begin(self._pool, message, ())
        try:
            text = ""
            while pieces := await generation.read():
                text += "".join([piece.text for piece in pieces])
        finally:
            generation.cancel()
        try:
            found = json.loads(text)
        except ValueError:  # a model that does not know the question has answered the prompt
            return []
        return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []

    async def _ready(self, model: str) -> bool:
        try:
            server = await self._pool.unary(SERVER_READY, b"", _READY_S)
            loaded = await self._pool.unary(MODEL_READY, encode_model_name(model), _READY_S)
        except (CallError, Unavailable):
            return False
        return decode_ready(server) and decode_ready(loaded)

    async def _is_decoupled(self, model: str) -> bool:
        """Asked once of a model that can be used. Raises EngineError for one that cannot."""
        if model not in self._decoupled:
            declared = decode_model_config(await self._ask(MODEL_CONFIG, encode_model_name(model)))
            if lacking := sorted({*TEXT_OUTPUTS, LOGPROBS, TOOL_FORMAT} - {*declared.outputs}):
                raise EngineError(
                    f"the Triton model {model} has no {', '.join(lacking)}; serve {BLS} under this name "
                    f"(openai.models, --model NAME={BLS})"
                )
            self._decoupled[model] = declared.decoupled
        return self._decoupled[model]

    async def _ask(self, path: str, message: bytes) -> bytes:
        try:
            return await self._pool.unary(path, message)
        except CallError as error:
            raise call_error(error.code, error.message) from None


def _cancellation(model: str, call: str) -> bytes:
    """The request that ends the one named `call`."""
    return encode_infer_request(model, _nothing(), (), CANCELLATION_ID, {CANCEL_CALL: call})


def _nothing() -> dict[str, Array]:
    """The inputs of a request whose parameters say all. A model needs an input, whatever it is."""
    return encode_generate(GenerateRequest(prompt="", sampling=SamplingParams(max_tokens=1)))
