"""A server that says what it is told, so that the shim is tested without Triton; and a client of the shim."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.testclient import TestClient

from qwen_triton.errors import Cancelled, QwenTritonError
from qwen_triton.tensors.arrays import Arrays
from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton.types import FinishReason, GenerateRequest, Usage
from qwen_triton_openai.app import create_app
from qwen_triton_openai.backend.generation import Way
from qwen_triton_openai.settings import ShimSettings

MODEL = "qwen"
Said = Sequence[TextPiece | Exception]


def answer(text: str, finish: FinishReason = "stop", sequence: int = 0, cached: int = 0, **more: Any) -> TextPiece:
    """A whole answer of three tokens to a prompt of five, `cached` of them found in a cache."""
    return TextPiece(text, sequence, finish, usage=Usage(5, 3, cached), **more)


def cut(text: str, size: int, finish: FinishReason = "stop") -> list[TextPiece]:
    """An answer in pieces of `size` characters, its end with the last."""
    pieces = [TextPiece(text[i : i + size]) for i in range(0, len(text), size)]
    return [*pieces, answer("", finish)]


class FakeGeneration:
    """Gives out what it has to say, one piece at a read; then ends, or waits for ever with `endless`."""

    def __init__(self, said: Said, endless: bool, way: Way = "grpc") -> None:
        self.way: Way = way
        self._said = list(said)
        self._endless = endless
        self._taken_back = asyncio.Event()

    @property
    def cancelled(self) -> bool:
        return self._taken_back.is_set()

    async def read(self) -> list[TextPiece]:
        if self._said:
            next_one = self._said.pop(0)
            if isinstance(next_one, Exception):
                raise next_one
            return [next_one]
        if self._endless:
            await self._taken_back.wait()
            raise Cancelled("taken back")
        return []

    def cancel(self) -> None:
        self._taken_back.set()


class FakeTriton:
    """A `Backend`. `says`: what each generation says, in turn, the last again and again; `ways`: how the requests go, in
    turn, then over gRPC. It keeps what it was asked."""

    def __init__(self, *says: Said, endless: bool = False, ways: Sequence[Way] = ()) -> None:
        self.says = list(says) or [[answer("hello")]]
        self.endless = endless
        self.ways = list(ways)
        self.up = True
        self.sent: list[GenerateRequest] = []
        self.headed: list[tuple[str, object]] = []
        self.generations: list[FakeGeneration] = []
        self.inferred: list[tuple[str, Arrays]] = []
        self.infers: dict[str, bytes] | QwenTritonError = {}

    async def generate(
        self, model: str, request: GenerateRequest, *, request_id: str = "", metadata: object = ()
    ) -> FakeGeneration:
        assert (model, bool(request_id)) == ("tensorrt_llm_bls", True)
        self.headed.append((request_id, metadata))
        self.sent.append(request)
        said = self.says[min(len(self.sent), len(self.says)) - 1]
        self.generations.append(FakeGeneration(said, self.endless, self.ways.pop(0) if self.ways else "grpc"))
        return self.generations[-1]

    async def infer(self, model: str, arrays: Arrays) -> dict[str, bytes]:
        self.inferred.append((model, arrays))
        if isinstance(self.infers, QwenTritonError):
            raise self.infers
        return self.infers

    async def fault(self, model: str) -> str:  # noqa: ARG002  all models of a fake are alike
        return "" if self.up else "it is away"

    async def close(self) -> None:
        """Nothing is open."""


@contextmanager
def shim_client(triton: FakeTriton | None = None, **settings: Any) -> Iterator[TestClient]:
    """The shim in front of a fake, as an HTTP client sees it; what fails in it is answered, not raised."""
    fake = triton or FakeTriton()
    app = create_app(ShimSettings(**settings), lambda _: fake)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def chat_body(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]} | more


def completion_body(**more: Any) -> dict[str, Any]:
    return {"model": MODEL, "prompt": "hi"} | more


def events(body: str) -> list[Any]:
    """The data of server-sent events, «[DONE]» as it is; comments are left out."""
    data = [line.removeprefix("data: ") for line in body.split("\n\n") if line.startswith("data: ")]
    return [one if one == "[DONE]" else json.loads(one) for one in data]


def named_events(body: str) -> list[dict[str, Any]]:
    """The data of server-sent events that have a name, which is their type; the end mark is left out."""
    found = []
    for block in body.removesuffix("data: [DONE]\n\n").split("\n\n"):
        name, _, data = block.partition("\n")
        if name.startswith("event: "):
            found.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {found[-1]['type']}"
    return found


def deltas(body: str, index: int = 0) -> list[dict[str, Any]]:
    """The deltas of one choice."""
    chunks = [e for e in events(body) if e != "[DONE]"]
    return [c["delta"] for chunk in chunks for c in chunk["choices"] if c["index"] == index]


def message_body(**more: Any) -> dict[str, Any]:
    """Of Anthropic's API."""
    return {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "hi"}]} | more
