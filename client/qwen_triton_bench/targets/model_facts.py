"""What a running Triton says of a model, and the tokenizer behind its preprocessing model; over gRPC or HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import numpy as np
from tritonclient.grpc import service_pb2

from qwen_triton.errors import ConfigurationError
from qwen_triton.tensors.contract import PREPROCESSING

SERVICE = "/inference.GRPCInferenceService"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class ModelFacts:
    """A model's tensors by name, whether its answers may come in pieces, and how many rows one request may have."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    decoupled: bool
    rows: int


class Facts(Protocol):
    """A server that can be asked, before and after a load. Raises ConfigurationError for what is not there."""

    def model(self, name: str) -> ModelFacts: ...

    def server(self) -> str:
        """Name and version."""

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Texts as the server's own tokenizer counts them; no more texts than the preprocessing model's rows."""


class GrpcFacts:
    """Asks at HOST:PORT of Triton's gRPC."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._channel = grpc.insecure_channel(url, OPTIONS)

    def model(self, name: str) -> ModelFacts:
        config = self._ask("ModelConfig", service_pb2.ModelConfigRequest(name=name)).config
        return ModelFacts(
            name,
            tuple(t.name for t in config.input),
            tuple(t.name for t in config.output),
            config.model_transaction_policy.decoupled,
            config.max_batch_size or 1,
        )

    def server(self) -> str:
        reply = self._ask("ServerMetadata", service_pb2.ServerMetadataRequest())
        return f"{reply.name} {reply.version}"

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        request = service_pb2.ModelInferRequest(model_name=PREPROCESSING)
        shape = [len(texts), 1]
        request.inputs.add(name="QUERY", datatype="BYTES", shape=shape).contents.bytes_contents.extend(
            text.encode() for text in texts
        )
        request.inputs.add(name="REQUEST_OUTPUT_LEN", datatype="INT32", shape=shape).contents.int_contents.extend(
            [1] * len(texts)
        )
        if "PROMPT_FORMAT" in self.model(PREPROCESSING).inputs:
            request.inputs.add(name="PROMPT_FORMAT", datatype="BYTES", shape=shape).contents.bytes_contents.extend(
                [b"raw"] * len(texts)
            )
        for name in ("INPUT_ID", "REQUEST_INPUT_LEN"):
            request.outputs.add(name=name)
        reply = self._ask("ModelInfer", request)
        arrays = {
            t.name: np.frombuffer(raw, np.int32).reshape(t.shape)
            for t, raw in zip(reply.outputs, reply.raw_output_contents, strict=True)
        }
        return _cut(arrays["INPUT_ID"].tolist(), arrays["REQUEST_INPUT_LEN"].reshape(-1).tolist())

    def _ask(self, method: str, request: Any) -> Any:
        reply = getattr(service_pb2, f"{method}Response")
        call = self._channel.unary_unary(
            f"{SERVICE}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=reply.FromString,
        )
        try:
            return call(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                raise ConfigurationError(
                    f"no Triton server answers gRPC at {self._url}; start one, or give --url"
                ) from None
            raise ConfigurationError(f"{self._url}: {error.details()}") from None


class HttpFacts:
    """Asks at HOST:PORT of Triton's HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    def model(self, name: str) -> ModelFacts:
        config = self._ask(f"models/{name}/config")
        return ModelFacts(
            name,
            tuple(t["name"] for t in config["input"]),
            tuple(t["name"] for t in config["output"]),
            config.get("model_transaction_policy", {}).get("decoupled", False),
            config.get("max_batch_size") or 1,
        )

    def server(self) -> str:
        reply = self._ask("")
        return f"{reply['name']} {reply['version']}"

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        rows = len(texts)
        inputs = [_json_input("QUERY", "BYTES", list(texts)), _json_input("REQUEST_OUTPUT_LEN", "INT32", [1] * rows)]
        if "PROMPT_FORMAT" in self.model(PREPROCESSING).inputs:
            inputs.append(_json_input("PROMPT_FORMAT", "BYTES", ["raw"] * rows))
        outputs = [{"name": "INPUT_ID"}, {"name": "REQUEST_INPUT_LEN"}]
        reply = self._ask(f"models/{PREPROCESSING}/infer", {"inputs": inputs, "outputs": outputs})
        found = {t["name"]: t["data"] for t in reply["outputs"]}
        flat, lengths = found["INPUT_ID"], found["REQUEST_INPUT_LEN"]
        width = len(flat) // rows
        return _cut([flat[r * width : (r + 1) * width] for r in range(rows)], lengths)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(f"http://{self._url}/v2/{path}".rstrip("/"), data, _TIMEOUT_S) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            raise ConfigurationError(f"{self._url}: {_message(error.read())}") from None
        except (OSError, ValueError):
            raise ConfigurationError(
                f"no Triton server answers HTTP at {self._url}; start one, or give --url"
            ) from None


def _json_input(name: str, datatype: str, values: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [len(values), 1], "data": values}


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode("utf-8", "replace")


def _cut(rows: list[list[int]], lengths: Sequence[int]) -> list[list[int]]:
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]
