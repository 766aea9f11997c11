"""Requests that share calls, against a server of the same service: each gets its own answer, whatever befalls the others."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from qwen_triton.errors import Cancelled, InvalidRequest, Unavailable
from qwen_triton.tensors.contract import BLS_OUTPUTS
from qwen_triton.tensors.request_parameters import CALL, CANCEL_CALL
from qwen_triton.types import GenerateRequest
from qwen_triton_openai.backend.generation import ModelGeneration
from qwen_triton_openai.backend.shared_calls import MOST_BYTES, MOST_CALLS
from qwen_triton_openai.backend.triton import GrpcTriton
from qwen_triton_openai.middleware.observe import CLIENTS_ID
from tests.support.generations import take_back, text_of, until
from tests.support.grpc_service import against


def response(request: Any, text: str | None, *, final: bool = False, error: str = "") -> Any:
    """As Triton makes them: with the request's id, and of a request that asks for it the mark of the last one."""
    reply = service_pb2.ModelStreamInferResponse(error_message=error)
    reply.infer_response.id = request.id
    if not error and "triton_enable_empty_final_response" in request.parameters:
        reply.infer_response.parameters["triton_final_response"].bool_param = final
    if text is not None:
        reply.infer_response.outputs.add().name = "text_output"
        reply.infer_response.raw_output_contents.append(len(text.encode()).to_bytes(4, "little") + text.encode())
    return reply


class Call:
    """One call as the server sees it."""

    def __init__(self, metadata: dict[str, str]) -> None:
        self.metadata = metadata
        self.requests: list[Any] = []
        self.half_closed = False
        self.answered = 0
        self.out: asyncio.Queue[Any] = asyncio.Queue()

    def say(self, number: int, text: str | None, *, final: bool = False, error: str = "") -> None:
        self.out.put_nowait(response(self.requests[number], text, final=final, error=error))
        if final or error:
            self.answered += 1
            self.end_if_over()

    def end_if_over(self) -> None:
        """As Triton: behind the last answer once no request follows."""
        if self.half_closed and self.answered == len(self.requests):
            self.end()

    def end(self, status: grpc.StatusCode = grpc.StatusCode.OK) -> None:
        self.out.put_nowait(status)


class Service(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A Triton with one model; `asked` is called with each request."""

    def __init__(self, asked: Callable[[Call, int], None]) -> None:
        self.asked = asked
        self.calls: list[Call] = []

    async def ModelConfig(self, _: Any, __: Any) -> Any:  # noqa: N802  the protocol's name
        reply = service_pb2.ModelConfigResponse()
        for tensor in BLS_OUTPUTS:
            reply.config.output.add().name = tensor.name
        reply.config.model_transaction_policy.decoupled = True
        return reply

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:  # noqa: N802
        call = Call(dict(context.invocation_metadata()))
        self.calls.append(call)

        async def read() -> None:
            async for request in requests:
                call.requests.append(request)
                self.asked(call, len(call.requests) - 1)
            call.half_closed = True
            call.end_if_over()

        reading = asyncio.create_task(read())
        try:
            while not isinstance(one := await call.out.get(), grpc.StatusCode):
                yield one
            if one is not grpc.StatusCode.OK:
                await context.abort(one, "going away")
        finally:
            reading.cancel()


Use = Callable[[GrpcTriton, Service], Awaitable[None]]


def answering(asked: Callable[[Call, int], None], use: Use) -> None:
    """Runs `use` with a connection to a service that calls `asked` with each request."""
    service = Service(asked)
    against(service, GrpcTriton, lambda triton: use(triton, service))


async def send(triton: GrpcTriton, name: str, *metadata: tuple[str, str]) -> ModelGeneration:
    request = GenerateRequest(prompt=name, stream=True)
    return await triton.generate("m", request, request_id=name, metadata=metadata)


def silent(call: Call, number: int) -> None:
    """Says nothing by itself."""


@pytest.mark.parametrize("seed", range(20))
def test_every_request_gets_its_own_answer(seed: int) -> None:
    """However the answers of a call are interleaved; with an empty last response or one with text; as on a call of its own."""
    chance = random.Random(seed)
    waiting: list[tuple[Call, int, list[str]]] = []
    said: dict[str, str] = {}

    def asked(call: Call, number: int) -> None:
        waiting.append((call, number, [f"{call.requests[number].id}:{i} " for i in range(chance.randrange(5))]))

    def answer_all() -> None:
        while waiting:
            index = chance.randrange(len(waiting))
            call, number, texts = waiting[index]
            text = texts.pop(0) if texts else None
            over = text is None or (not texts and chance.random() < 0.5)
            call.say(number, text, final=over)
            name = call.requests[number].id
            said[name] = said.get(name, "") + (text or "")
            if over:
                del waiting[index]

    async def use(triton: GrpcTriton, server: Service) -> None:
        names = [f"r{i}" for i in range(60)]
        generations = await asyncio.gather(*[send(triton, name) for name in names])
        own = await send(triton, "own", ("traceparent", "t"))
        await until(lambda: len(waiting) == len(names) + 1)
        shared = [call for call in server.calls if "traceparent" not in call.metadata]
        assert len(shared) == MOST_CALLS
        assert [len(call.requests) for call in server.calls if call not in shared] == [1]
        answer_all()
        assert [await text_of(generation) for generation in generations] == [said[name] for name in names]
        assert await text_of(own) == said["own"]

    answering(asked, use)


async def share(triton: GrpcTriton, server: Service) -> list[ModelGeneration]:
    """Two requests on the first call, one on each of the others."""
    found = [await send(triton, f"r{i}") for i in range(MOST_CALLS + 1)]
    await until(lambda: sum(len(call.requests) for call in server.calls) == len(found))
    assert [request.id for request in server.calls[0].requests] == ["r0", f"r{MOST_CALLS}"]
    return [found[0], found[-1]]


def test_the_error_of_one_ends_no_other() -> None:
    async def use(triton: GrpcTriton, server: Service) -> None:
        first, second = await share(triton, server)
        call = server.calls[0]
        call.say(0, "hel")
        call.say(0, None, error="top_k: must be 1 or more")
        assert [piece.text for piece in await first.read()] == ["hel"]
        with pytest.raises(InvalidRequest, match="top_k"):
            await first.read()
        call.say(1, "hello", final=True)
        assert await text_of(second) == "hello"

    answering(silent, use)


def test_a_request_is_taken_back_by_another_on_its_call() -> None:
    """Its reader is told at once, what still comes for it is dropped, and the other goes on."""

    async def use(triton: GrpcTriton, server: Service) -> None:
        first, second = await share(triton, server)
        call = server.calls[0]
        await take_back(first)
        await until(lambda: len(call.requests) == 3)
        named = call.requests[0].parameters[CALL].string_param
        assert call.requests[2].parameters[CANCEL_CALL].string_param == named
        assert len(named) >= 32
        assert named != call.requests[1].parameters[CALL].string_param
        assert named not in call.requests[2].id
        assert not CLIENTS_ID.fullmatch(call.requests[2].id)
        call.say(0, "too late", final=True)
        call.say(2, None, error="the request was cancelled")
        call.say(1, "hello", final=True)
        assert await text_of(second) == "hello"
        with pytest.raises(Cancelled):
            await first.read()

    answering(silent, use)


@pytest.mark.parametrize("answered", [True, False])
def test_a_call_ends_with_its_last_request(answered: bool) -> None:
    """Also where the server does not end what was taken back: so it can shut down, which waits for calls."""

    async def use(triton: GrpcTriton, server: Service) -> None:
        first, second = await share(triton, server)
        call = server.calls[0]
        call.say(1, "hello", final=True)
        assert await text_of(second) == "hello"
        assert not call.half_closed
        if answered:
            call.say(0, "hello", final=True)
            assert await text_of(first) == "hello"
        else:
            first.cancel()
        await until(lambda: call.half_closed)
        again = await send(triton, "again")
        await until(lambda: len(server.calls) == MOST_CALLS + 1 and len(server.calls[-1].requests) == 1)
        server.calls[-1].say(0, "x", final=True)
        assert await text_of(again) == "x"

    answering(silent, use)


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.OK])
def test_a_call_that_the_server_ends_fails_what_is_on_it(status: grpc.StatusCode) -> None:
    """As unavailable; what is on the other calls goes on, and the next request has a new one."""

    async def use(triton: GrpcTriton, server: Service) -> None:
        first, second = await share(triton, server)
        other = await send(triton, "other")
        await until(lambda: len(server.calls[1].requests) == 2)
        server.calls[0].end(status)
        for generation in (first, second):
            with pytest.raises(Unavailable):
                await generation.read()
            generation.cancel()
        server.calls[1].say(1, "hello", final=True)
        assert await text_of(other) == "hello"
        await send(triton, "next")
        await until(lambda: len(server.calls) == MOST_CALLS + 1)

    answering(silent, use)


def test_a_connection_that_is_lost_fails_what_is_on_it() -> None:
    async def use(triton: GrpcTriton, server: Service) -> None:
        generations = await share(triton, server)
        await triton.close()
        for generation in generations:
            with pytest.raises(Unavailable):
                await generation.read()

    answering(silent, use)


def test_what_waits_for_a_slow_reader_is_merged() -> None:
    """It is little more than its text, and the others on the call are not held up."""

    async def use(triton: GrpcTriton, server: Service) -> None:
        slow, quick = await share(triton, server)
        call = server.calls[0]
        for _ in range(1000):
            call.say(0, "x")
        call.say(1, "hello", final=True)
        assert await text_of(quick) == "hello"
        assert len(slow._messages) + len(slow._pieces) <= 64
        call.say(0, None, final=True)
        assert await text_of(slow) == "x" * 1000

    answering(silent, use)


def test_a_large_request_has_a_call_of_its_own() -> None:
    """It would hold up the small ones behind it."""

    async def use(triton: GrpcTriton, server: Service) -> None:
        await share(triton, server)
        request = GenerateRequest(prompt="x" * MOST_BYTES, stream=True)
        large = await triton.generate("m", request, request_id="large")
        await until(lambda: len(server.calls) == MOST_CALLS + 1 and server.calls[-1].half_closed)
        assert [each.id for each in server.calls[-1].requests] == ["large"]
        server.calls[-1].say(0, "hello", final=True)
        assert await text_of(large) == "hello"

    answering(silent, use)


def test_requests_of_one_id_have_calls_of_their_own() -> None:
    """Their responses could not be told apart; the model may refuse the second."""

    async def use(triton: GrpcTriton, server: Service) -> None:
        same = [await send(triton, "same") for _ in range(2 * MOST_CALLS + 3)]
        await until(lambda: sum(len(call.requests) for call in server.calls) == len(same))
        for call in server.calls:
            assert len(call.requests) == 1
            call.say(0, "hello", final=True)
        assert [await text_of(generation) for generation in same] == ["hello"] * len(same)

    answering(silent, use)
