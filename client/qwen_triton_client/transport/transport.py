"""A transport: a session's connection to Triton (`grpc` and `http` are the two there are), and the errors it raises."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from qwen_triton.errors import Cancelled, EngineError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.kserve.declared_model import DeclaredModel
from qwen_triton.kserve.status import error_of
from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.text_outputs import TextPiece


class ResponseStream(Protocol):
    """The responses to one request, each as its pieces; `cancel` ends them from any thread."""

    def __iter__(self) -> Iterator[list[TextPiece]]: ...

    def cancel(self) -> None: ...


class Transport(Protocol):
    """A connection. Every method raises Unavailable when nobody answers, InvalidRequest for what Triton refuses."""

    def ready(self, model: str) -> bool:
        """Whether the model is loaded."""

    def server(self) -> str:
        """The server's name and version."""

    def describe(self, model: str) -> DeclaredModel:
        """What the model declares."""

    def infer(self, model: str, arrays: Arrays, outputs: Sequence[str]) -> dict[str, bytes]:
        """Raw outputs by name, the only response of a model that is not decoupled."""

    def send(
        self, model: DeclaredModel, arrays: Arrays, outputs: Sequence[str], request_id: str, several: bool
    ) -> ResponseStream:
        """Sends a request to a text model; errors come while its responses are read. `several`: it may have more than one."""

    def close(self) -> None:
        """Breaks off what is under way."""


_KINDS: Mapping[str, type[QwenTritonError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": InvalidRequest,
    "UNAUTHENTICATED": InvalidRequest,
    "PERMISSION_DENIED": InvalidRequest,
    "UNIMPLEMENTED": InvalidRequest,
    "UNAVAILABLE": Unavailable,
    "RESOURCE_EXHAUSTED": Unavailable,
    "CANCELLED": Cancelled,
}
_STATUS = {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 503: "UNAVAILABLE"}


def transport_error(code: str | int, message: Any) -> QwenTritonError:
    """Triton's error as one of ours, by gRPC code name or HTTP status; by its text where the status says nothing."""
    name = _STATUS.get(code, "") if isinstance(code, int) else code
    if name in _KINDS:
        return _KINDS[name](str(message))
    return error_of(str(message)) if isinstance(code, int) else EngineError(str(message))


def unreachable(url: str, reason: str) -> Unavailable:
    """The error of a server that cannot be connected to, with the remedy."""
    return Unavailable(f"nothing answers at {url} ({reason}); start one with: qwen-triton serve DEPLOYMENT")
