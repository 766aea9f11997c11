"""Triton over gRPC: one stream a request, so that one can be cancelled without the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from qwen_triton.errors import QwenTritonError
from qwen_triton.kserve.error_text import error_of
from qwen_triton.kserve.messages import encode_infer_request
from qwen_triton.tensors.arrays import Array
from qwen_triton.tensors.text_outputs import TextPiece, decode_text_outputs

from .model import DeclaredInput, DeclaredModel
from .transport import unreachable, wire_error

_ANY_SIZE = -1
_CALL_S = 10.0


class _GrpcReply:
    def __init__(self, call: Any, url: str) -> None:
        self._call = call
        self._url = url

    def __iter__(self) -> Iterator[list[TextPiece]]:
        try:
            for message in self._call:
                if message.error_message:
                    raise error_of(message.error_message)
                response = message.infer_response
                raw = {t.name: c for t, c in zip(response.outputs, response.raw_output_contents, strict=True)}
                yield decode_text_outputs(raw)
        except grpc.RpcError as error:
            raise _from_rpc(error, self._url) from None

    def cancel(self) -> None:
        self._call.cancel()


class GrpcWire:
    """One channel. `secure`: TLS with the system's certificates. `url` is HOST:PORT."""

    def __init__(self, url: str, secure: bool = False) -> None:
        options = [("grpc.max_send_message_length", _ANY_SIZE), ("grpc.max_receive_message_length", _ANY_SIZE)]
        credentials = grpc.ssl_channel_credentials() if secure else None
        self._url = url
        self._channel = (
            grpc.secure_channel(url, credentials, options) if credentials else grpc.insecure_channel(url, options)
        )
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def ready(self, model: str) -> bool:
        request = service_pb2.ModelReadyRequest(name=model)
        return bool(self._ask(self._stub.ModelReady, request).ready)

    def describe(self, model: str) -> DeclaredModel:
        config = self._ask(self._stub.ModelConfig, service_pb2.ModelConfigRequest(name=model)).config
        dtypes = config.input[0].DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
        return DeclaredModel(
            config.name,
            {i.name: DeclaredInput(dtypes[i.data_type].name, i.optional) for i in config.input},
            frozenset(o.name for o in config.output),
            config.max_batch_size > 0,
            tuple(step.model_name for step in config.ensemble_scheduling.step),
        )

    def send(
        self, model: DeclaredModel, arrays: Mapping[str, Array], outputs: Sequence[str], request_id: str, stream: bool
    ) -> _GrpcReply:
        del stream  # one call serves both: the server closes it behind the last response
        data = encode_infer_request(model.name, arrays, outputs, request_id)
        return _GrpcReply(
            self._stub.ModelStreamInfer(iter([service_pb2.ModelInferRequest.FromString(data)])), self._url
        )

    def close(self) -> None:
        self._channel.close()

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=_CALL_S)
        except grpc.RpcError as error:
            raise _from_rpc(error, self._url) from None


def _from_rpc(error: grpc.RpcError, url: str) -> QwenTritonError:
    call = cast(grpc.Call, error)
    code, details = call.code().name, call.details() or ""
    if code == "UNAVAILABLE" and "connect" in details.lower():
        return unreachable(url, "connection refused")
    return wire_error(code, details)
