"""Which way the shim's requests go: to the model's processes where they are of this machine, else through the server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from qwen_triton.errors import ConfigurationError, QwenTritonError, Unavailable
from qwen_triton.tensors.contract import BLS_OUTPUTS, TEXT_INPUT, TEXT_OUTPUT
from qwen_triton.tensors.request_parameters import LOCAL_SOCKETS
from qwen_triton.types import GenerateRequest
from qwen_triton_openai.backend.generation import ModelGeneration
from qwen_triton_openai.backend.local_triton import LocalTriton
from tests.support.generations import text_of, until
from tests.support.grpc_service import BOUND_S, against
from tests.support.local_model import LocalModel

pytestmark = pytest.mark.timeout(60)
TRACE = (("traceparent", "t"),)


class ServerOfLocals(service_pb2_grpc.GRPCInferenceServiceServicer):
    """A Triton whose models say `addresses` when they are asked for them, as a BLS does, or what they say to every prompt.

    `prompts`: of the requests that went through it, by model. `questions`: the models that were asked.
    """

    def __init__(self, addresses: list[str] | None) -> None:
        self.addresses = addresses
        self.decoupled = True
        self.prompts: list[tuple[str, str]] = []
        self.questions: list[str] = []
        self.metadata: dict[str, str] = {}

    async def ModelConfig(self, _: Any, __: Any) -> Any:  # noqa: N802  the protocol's name
        reply = service_pb2.ModelConfigResponse()
        for tensor in BLS_OUTPUTS:
            reply.config.output.add().name = tensor.name
        reply.config.model_transaction_policy.decoupled = self.decoupled
        return reply

    async def ServerReady(self, _: Any, __: Any) -> Any:  # noqa: N802
        return service_pb2.ServerReadyResponse(ready=True)

    async def ModelReady(self, _: Any, __: Any) -> Any:  # noqa: N802
        return service_pb2.ModelReadyResponse(ready=True)

    async def ModelInfer(self, request: Any, _: Any) -> Any:  # noqa: N802
        response = service_pb2.ModelInferResponse(raw_output_contents=list(request.raw_input_contents))
        response.outputs.add().name = "echo"
        return response

    async def ModelStreamInfer(self, requests: Any, context: Any) -> Any:  # noqa: N802
        async for request in requests:
            if LOCAL_SOCKETS in request.parameters:
                assert request.parameters[LOCAL_SOCKETS].bool_param
                assert [output.name for output in request.outputs] == [TEXT_OUTPUT]
                self.questions.append(request.model_name)
                if self.addresses is not None:
                    yield _response(request, json.dumps(self.addresses))
                    continue
            else:
                self.metadata = dict(context.invocation_metadata())
                self.prompts.append((request.model_name, _prompt(request)))
            yield _response(request, "through the server")


def _prompt(request: Any) -> str:
    names = [tensor.name for tensor in request.inputs]
    return bytes(request.raw_input_contents[names.index(TEXT_INPUT)][4:]).decode()


def _response(request: Any, text: str) -> Any:
    reply = service_pb2.ModelStreamInferResponse()
    reply.infer_response.id = request.id
    if "triton_enable_empty_final_response" in request.parameters:
        reply.infer_response.parameters["triton_final_response"].bool_param = True
    reply.infer_response.outputs.add().name = TEXT_OUTPUT
    reply.infer_response.raw_output_contents.append(len(text).to_bytes(4, "little") + text.encode())
    return reply


@pytest.fixture
def start() -> Iterator[Callable[[], LocalModel]]:
    """Starts one of a model's two processes."""
    made: list[LocalModel] = []
    folder = Path(mkdtemp())

    def new() -> LocalModel:
        made.append(LocalModel(f"{folder}/{len(made)}", processes=2))
        return made[-1]

    yield new
    for model in made:
        model.stop()
    rmtree(folder)


async def send(triton: LocalTriton, text: str, model: str = "m", **more: Any) -> ModelGeneration:
    request = GenerateRequest(prompt=text, stream=True)
    generation = await triton.generate(model, request, request_id=text, **more)
    assert isinstance(generation, ModelGeneration)
    return generation


async def warm(triton: LocalTriton, service: ServerOfLocals) -> None:
    """The first request, which goes through the server while it is asked for the processes, and time for the answer."""
    assert await text_of(await send(triton, "first")) == "through the server"
    await until(lambda: bool(service.questions))
    await asyncio.sleep(0.2)
    assert service.prompts == [("m", "first")]
    service.prompts.clear()


async def one_each(
    triton: LocalTriton, service: ServerOfLocals, models: Sequence[LocalModel]
) -> dict[str, ModelGeneration]:
    """One request under way in each of two processes; the generations by their requests' texts."""
    await warm(triton, service)
    generations = {text: await send(triton, text) for text in ("a", "b")}
    await until(lambda: all(len(model.requests) == 1 for model in models))
    return generations


def test_requests_go_to_the_processes_once_they_are_known(start: Callable[[], LocalModel]) -> None:
    """As many to each, with id and outputs; every answer is that of its request, and the server sees nothing of it."""
    models = [start(), start()]
    service = ServerOfLocals([model.address for model in models])

    async def use(triton: LocalTriton) -> None:
        await warm(triton, service)
        generations = [await send(triton, f"number {number}") for number in range(40)]
        await until(lambda: sum(len(model.requests) for model in models) == 40)
        assert [len(model.requests) for model in models] == [20, 20]
        for model in models:
            for index, (_, sent) in enumerate(model.requests):
                assert sent.request_id == model.prompt(index).decode()
                assert TEXT_OUTPUT in sent.outputs
                model.answer(index)
        assert [await text_of(one) for one in generations] == [f"number {number}" for number in range(40)]
        assert (service.prompts, service.questions) == ([], ["m"])

    against(service, LocalTriton, use)


def test_taking_back_reaches_the_process_that_has_the_request(start: Callable[[], LocalModel]) -> None:
    models = [start(), start()]
    service = ServerOfLocals([model.address for model in models])

    async def use(triton: LocalTriton) -> None:
        generations = await one_each(triton, service, models)
        taken, other = models
        generations[taken.prompt().decode()].cancel()
        await until(lambda: bool(taken.cancelled))
        assert taken.cancelled == [taken.requests[0][0].call(taken.requests[0][1].number)]
        other.answer()
        name = other.prompt().decode()
        assert await text_of(generations[name]) == name
        assert other.cancelled == []

    against(service, LocalTriton, use)


def test_requests_of_a_process_that_died_hear_of_it_and_the_next_go_to_the_others(
    start: Callable[[], LocalModel],
) -> None:
    """And through the server when none is left."""
    models = [start(), start()]
    service = ServerOfLocals([model.address for model in models])

    async def use(triton: LocalTriton) -> None:
        generations = await one_each(triton, service, models)
        died, left = models
        lost, kept = (generations[model.prompt().decode()] for model in models)
        await asyncio.to_thread(died.stop)
        with pytest.raises(Unavailable, match="try again"):
            await text_of(lost)
        again = await send(triton, "again")
        await until(lambda: len(left.requests) == 2)
        left.answer(0)
        left.answer(1)
        assert await text_of(kept) == left.prompt(0).decode()
        assert await text_of(again) == "again"
        assert service.prompts == []
        await asyncio.to_thread(left.stop)
        await asyncio.sleep(0.05)
        assert await text_of(await send(triton, "last")) == "through the server"
        assert service.prompts == [("m", "last")]

    against(service, LocalTriton, use)


def test_a_request_with_metadata_goes_through_the_server(start: Callable[[], LocalModel]) -> None:
    """As those that are traced: the metadata is for it."""
    model = start()
    service = ServerOfLocals([model.address])

    async def use(triton: LocalTriton) -> None:
        await warm(triton, service)
        assert await text_of(await send(triton, "traced", metadata=TRACE)) == "through the server"
        assert service.metadata["traceparent"] == "t"
        assert (service.prompts, model.requests) == ([("m", "traced")], [])

    against(service, LocalTriton, use)


def test_a_shim_whose_requests_all_have_metadata_does_not_ask(start: Callable[[], LocalModel]) -> None:
    service = ServerOfLocals([start().address])

    async def use(triton: LocalTriton) -> None:
        await text_of(await send(triton, "traced", metadata=TRACE))
        await asyncio.sleep(0.1)
        assert service.questions == []

    against(service, LocalTriton, use)


@pytest.mark.parametrize(
    "kind", ["does not know", "has none", "elsewhere", "not a list", "not of strings", "decoupled"]
)
def test_requests_to_other_models_go_through_the_server(start: Callable[[], LocalModel], kind: str) -> None:
    """Those that are no BLS, or not of this machine; one that is not decoupled is not even asked."""
    addresses: Any = {
        "does not know": None,
        "has none": [],
        "elsewhere": ["/dev/shm/qwen_triton_load_elsewhere/requests"],
        "not a list": start().address,
        "not of strings": [1, None, {"a": 1}],
        "decoupled": [start().address],
    }
    service = ServerOfLocals(addresses[kind])
    service.decoupled = kind != "decoupled"

    async def use(triton: LocalTriton) -> None:
        for number in range(5):
            assert await text_of(await send(triton, str(number))) == "through the server"
            await asyncio.sleep(0.05)
        assert [text for _, text in service.prompts] == list("01234")
        assert service.questions == ([] if kind == "decoupled" else ["m"])
        found = addresses[kind] if kind in ("has none", "elsewhere") else []
        assert await triton._server.local_sockets("m") == found

    against(service, LocalTriton, use)


def test_each_model_has_its_own_processes(start: Callable[[], LocalModel]) -> None:
    model = start()
    service = ServerOfLocals([model.address])

    async def use(triton: LocalTriton) -> None:
        await warm(triton, service)
        service.addresses = []
        for number in range(2):
            assert await text_of(await send(triton, str(number), "other")) == "through the server"
            await asyncio.sleep(0.1)
        assert service.questions == ["m", "other"]
        assert model.requests == []

    against(service, LocalTriton, use)


def test_what_is_no_text_request_goes_through_the_server(start: Callable[[], LocalModel]) -> None:
    """Readiness, and models that are asked for one answer."""
    service = ServerOfLocals([start().address])

    async def use(triton: LocalTriton) -> None:
        await warm(triton, service)
        assert await triton.fault("m") == ""
        assert await triton.infer("m", {"x": np.array([7], np.int32)}) == {"echo": b"\7\0\0\0"}

    against(service, LocalTriton, use)


def test_a_server_that_is_away_is_said_as_without_sockets() -> None:
    async def run() -> None:
        triton = LocalTriton("127.0.0.1:1")
        with pytest.raises(Unavailable, match="does not answer"):
            await text_of(await send(triton, "x"))
        await triton.close()

    asyncio.run(asyncio.wait_for(run(), BOUND_S))


def test_an_address_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        LocalTriton("nothing")


def test_closing_ends_requests_on_both_ways(start: Callable[[], LocalModel]) -> None:
    model = start()
    service = ServerOfLocals([model.address])

    async def use(triton: LocalTriton) -> None:
        await warm(triton, service)
        generation = await send(triton, "x")
        await until(lambda: len(model.requests) == 1)
        await triton.close()
        with pytest.raises(QwenTritonError):
            await text_of(generation)
        await until(lambda: model.requests[0][0].closed)

    against(service, LocalTriton, use)
