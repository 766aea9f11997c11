"""Many concurrent clients in one thread: gRPC streams and HTTP event streams, each of which may disconnect in mid-answer.

    heard = together([Grpc(server, BLS, {"text_input": "hello"}), Http(server, BLS, {"text_input": "hello"})])

Bytes are kept as received, so that a broken character shows: no chunk is decoded by itself.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import grpc
from tritonclient.grpc import InferResult, service_pb2, service_pb2_grpc
from tritonclient.utils import serialize_byte_tensor

from qwen_triton.tensors.contract import TENSORRT_LLM
from tests.support.live.client import arrays
from tests.support.live.servers import LiveServer

WAIT_S = 120.0
_FINAL = "triton_final_response"
STOP = {"input_ids": [0], "input_lengths": 1, "request_output_len": 1, "stop": True}
"""Stock's way to take a request back: this, with that request's id."""


@dataclass
class Received:
    """What one caller received: the bytes of `text_output`, piece by piece, and every other output's last value.

    `over_at`: when it left, or heard the end (time.monotonic).
    """

    pieces: list[bytes] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    status: str = ""
    ends: int = 0
    left: bool = False
    over_at: float = 0.0

    @property
    def text(self) -> str:
        """All of it. Raises UnicodeDecodeError where the bytes are none of a text."""
        return b"".join(self.pieces).decode()

    def is_beginning_of(self, text: str) -> bool:
        """Whether this much of it was heard; an answer that was taken back within a character ends in U+FFFD."""
        said = b"".join(self.pieces)
        whole = said.removesuffix("\ufffd".encode()) if self.finish == "cancelled" else said
        return text.encode().startswith(whole)

    @property
    def finish(self) -> str:
        return _text(self.outputs.get("finish_reason", b""))


class Caller(Protocol):
    """One request of the crowd."""

    async def ask(self, received: Received) -> None:
        """Sends it and notes what comes until the answer's end, or until it leaves."""


def together(callers: Sequence[Caller], wait_s: float = WAIT_S) -> list[Received]:
    """What each of them hears when all ask at once; one whose answer does not end in time has that as its error."""

    async def hear(caller: Caller) -> Received:
        received = Received()
        try:
            await asyncio.wait_for(caller.ask(received), wait_s)
        except asyncio.TimeoutError:
            received.error = f"no end within {wait_s:g} s"
        return received

    async def hear_all() -> list[Received]:
        return await asyncio.gather(*map(hear, callers))

    return asyncio.run(hear_all())


def break_off(callers: Sequence[Caller], when: Callable[[list[Received]], bool]) -> list[Received]:
    """What they hear when all ask at once, and all leave in the same moment, once that is true of what they heard."""

    async def hear_some() -> list[Received]:
        received = [Received() for _ in callers]
        tasks = [asyncio.create_task(caller.ask(h)) for caller, h in zip(callers, received, strict=True)]
        deadline = time.monotonic() + WAIT_S
        while not when(received) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return received

    return asyncio.run(hear_some())


@dataclass
class Grpc:
    """A caller with a gRPC stream of its own. Leaves after `leaves_after` pieces, or at its `deadline_s`.

    It leaves by a cancel; with `stops` by stock's `stop` request to the engine model, and hears its answer's end.
    Without `outputs` it asks for all there are.
    """

    server: LiveServer
    model: str
    inputs: Mapping[str, Any]
    request_id: str = ""
    leaves_after: int | None = None
    deadline_s: float | None = None
    parameters: Mapping[str, int] = field(default_factory=dict)
    stops: bool = False
    outputs: Sequence[str] = ()

    async def ask(self, received: Received) -> None:
        async with grpc.aio.insecure_channel(self.server.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            call = stub.ModelStreamInfer(_once(self._request()), timeout=self.deadline_s)
            try:
                await self._listen(call, received)
            except grpc.aio.AioRpcError as error:
                received.over_at = time.monotonic()
                received.error, received.status = error.details() or "", error.code().name

    async def _listen(self, call: Any, received: Received) -> None:
        while True:
            if self.leaves_after is not None and not received.left and len(received.pieces) >= self.leaves_after:
                received.left, received.over_at = True, time.monotonic()
                if not self.stops:
                    call.cancel()
                    return
                await Grpc(self.server, TENSORRT_LLM, STOP, self.request_id).ask(Received())
            reply = await call.read()
            if reply is grpc.aio.EOF:
                received.over_at = received.over_at or time.monotonic()
                return
            _take_grpc(reply, received)

    def _request(self) -> Any:
        request = service_pb2.ModelInferRequest(model_name=self.model, id=self.request_id)
        request.parameters["triton_enable_empty_final_response"].bool_param = True
        for name, value in self.parameters.items():
            request.parameters[name].int64_param = value
        for name, (kind, array) in arrays(self.model, [self.inputs]).items():
            request.inputs.add(name=name, datatype=kind, shape=array.shape)
            data = serialize_byte_tensor(array).item() if kind == "BYTES" else array.tobytes()
            request.raw_input_contents.append(data)
        for name in self.outputs:
            request.outputs.add(name=name)
        return request


def _once(request: Any) -> Iterator[Any]:
    yield request


def _take_grpc(reply: Any, received: Received) -> None:
    if reply.error_message:
        received.error = reply.error_message
    answer = InferResult(reply.infer_response)
    for output in reply.infer_response.outputs:
        array = answer.as_numpy(output.name)
        if output.name == "text_output":
            received.pieces.append(b"".join(array.reshape(-1).tolist()))
        elif array.size:
            received.outputs[output.name] = array.reshape(-1).tolist()[0] if array.size == 1 else array.tolist()
    received.ends += reply.infer_response.parameters[_FINAL].bool_param


@dataclass
class Http:
    """A caller of `generate_stream` on a connection of its own; leaves (closes it) after `leaves_after` events."""

    server: LiveServer
    model: str
    inputs: Mapping[str, Any]
    leaves_after: int | None = None

    async def ask(self, received: Received) -> None:
        host, port = self.server.http.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(self._request())
            await self._listen(reader, received)
        finally:
            received.over_at = time.monotonic()
            writer.transport.abort()

    def _request(self) -> bytes:
        body = json.dumps({"stream": True, **self.inputs}).encode()
        head = f"POST /v2/models/{self.model}/generate_stream HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Content-Type: application/json\r\n\r\n".encode() + body

    async def _listen(self, reader: asyncio.StreamReader, received: Received) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        received.status = head.split()[1]
        if length := re.search(r"Content-Length: (\d+)", head):
            _take_http(json.loads(await reader.readexactly(int(length[1]))), received)
            received.ends = 1
            return
        while self.leaves_after is None or len(received.pieces) < self.leaves_after:
            line = await reader.readline()
            if line.startswith(b"data: "):
                _take_http(json.loads(line[6:]), received)
            elif line == b"0\r\n" or not line:
                received.ends += line == b"0\r\n"
                return
        received.left = True


def _take_http(event: dict[str, Any], received: Received) -> None:
    received.error = event.pop("error", received.error)
    if "text_output" in event:
        received.pieces.append(event.pop("text_output").encode())
    received.outputs.update(event)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
