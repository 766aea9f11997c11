"""How a text model's processes are found: by asking the server, no more often than there is reason to, and used evenly."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from qwen_triton.errors import EngineError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.serving.local import server as server_module
from qwen_triton.serving.local.messages import VERSION
from qwen_triton.serving.local.server import LocalServer
from qwen_triton.tensors.arrays import encode_strings
from qwen_triton_openai.backend import local_socket
from qwen_triton_openai.backend.generation import ModelGeneration
from qwen_triton_openai.backend.local_socket import LocalSocket
from qwen_triton_openai.backend.local_sockets import LocalSockets
from tests.support.local_model import LocalModel

LOG = "qwen_triton_openai.backend.local_sockets"
WAIT_S = 20.0
pytestmark = pytest.mark.timeout(60)

MODEL = "tensorrt_llm_bls"
SOON_S, LATE_S = 1.0, 60.0
"""After how long the server is asked again: where a process is missing, and where its addresses are of no use here."""


class Clock(asyncio.SelectorEventLoop):
    """An event loop whose time can be put on."""

    offset = 0.0

    def time(self) -> float:
        return super().time() + self.offset


class Server:
    """What is asked: `answer` is what it says, or raises; None: nothing, for ever. `asked`: for which models, in order."""

    def __init__(self, answer: list[str] | QwenTritonError | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def ask(self, model: str) -> list[str]:
        self.asked.append(model)
        await asyncio.sleep(0)
        if self.answer is None:
            await asyncio.Event().wait()
        if isinstance(self.answer, QwenTritonError):
            raise self.answer
        assert self.answer is not None
        return list(self.answer)


Use = Callable[[LocalSockets, Clock], Awaitable[None]]


def with_sockets(server: Server, use: Use) -> None:
    loop = Clock()

    async def run() -> None:
        sockets = LocalSockets(server.ask)
        try:
            await use(sockets, loop)
        finally:
            sockets.close()
            while len(asyncio.all_tasks()) > 1:  # a question that is broken off ends a moment later
                await asyncio.sleep(0)

    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


async def look(sockets: LocalSockets, model: str = MODEL) -> LocalSocket | None:
    """The best connection once the server, if it is asked by that, has answered."""
    sockets.best(model)
    await settle()
    return sockets.best(model)


async def settle() -> None:
    """Time for a question and the connections that follow."""
    await asyncio.sleep(0.05)


@pytest.fixture
def start() -> Iterator[Callable[..., LocalModel]]:
    """Starts a process of a model that has so many."""
    made: list[LocalModel] = []
    folder = Path(mkdtemp())

    def new(processes: int = 1, address: str = "") -> LocalModel:
        made.append(LocalModel(address or f"{folder}/{len(made)}", processes))
        return made[-1]

    yield new
    for model in made:
        model.stop()
    rmtree(folder)


def test_the_server_is_asked_once_for_each_model(start: Callable[..., LocalModel]) -> None:
    """The first request finds nothing yet and goes another way; nobody asks again while nothing is missing."""
    first = start()
    server = Server([first.address])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        assert sockets.best(MODEL) is None
        await settle()
        found = sockets.best(MODEL)
        assert found is not None
        clock.offset += 1000
        assert [sockets.best(MODEL) for _ in range(10)] == [found] * 10
        await settle()
        assert server.asked == [MODEL]
        assert await look(sockets, "other") is not found
        assert server.asked == [MODEL, "other"]

    with_sockets(server, use)


def test_many_requests_of_one_moment_ask_once() -> None:
    server = Server([])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        del clock
        assert [sockets.best(MODEL) for _ in range(100)] == [None] * 100
        await settle()
        assert server.asked == [MODEL]

    with_sockets(server, use)


def test_the_server_is_asked_again_while_a_process_is_missing(start: Callable[..., LocalModel]) -> None:
    """Once a second at most; requests go to those that are there meanwhile."""
    first = start(processes=2)
    server = Server([first.address])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        found = await look(sockets)
        assert found is not None
        assert await look(sockets) is found
        assert len(server.asked) == 1
        clock.offset += SOON_S
        assert await look(sockets) is found
        assert len(server.asked) == 2
        second = start(processes=2)
        server.answer = [first.address, second.address]
        assert await look(sockets) is found
        assert len(server.asked) == 2
        clock.offset += SOON_S
        await look(sockets)
        clock.offset += 1000
        await look(sockets)
        assert len(server.asked) == 3
        await spread(sockets, [first, second], each=5)

    with_sockets(server, use)


async def spread(sockets: LocalSockets, models: list[LocalModel], each: int) -> None:
    """Sends so many requests for each process: every process gets as many."""
    before = [len(model.requests) for model in models]
    generations = []
    for number in range(each * len(models)):
        connection = sockets.best(MODEL)
        assert connection is not None
        generations.append(ModelGeneration())
        generations[-1].send(connection, str(number), ("text_output",), {"text_input": encode_strings([["x"]])})
    await settle()
    assert [len(model.requests) - had for model, had in zip(models, before, strict=True)] == [each] * len(models)


def test_requests_go_to_the_process_with_the_fewest(start: Callable[..., LocalModel]) -> None:
    """Of this shim's; one that has answered is the next."""
    models = [start(processes=3) for _ in range(3)]
    server = Server([model.address for model in models])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        del clock
        await look(sockets)
        await spread(sockets, models, each=4)
        for index in range(4):
            models[1].answer(index)
        await settle()
        chosen = Counter(id(sockets.best(MODEL)) for _ in range(5))
        assert len(chosen) == 1
        best = sockets.best(MODEL)
        assert best is not None
        assert len(best) == 0

    with_sockets(server, use)


def test_workers_do_not_all_prefer_the_same_process(start: Callable[..., LocalModel]) -> None:
    """Whose first requests find all processes alike."""
    models = [start(processes=2) for _ in range(2)]
    server = Server([model.address for model in models])

    async def use(*_: object) -> None:
        workers = [LocalSockets(server.ask) for _ in range(24)]
        for worker in workers:
            worker.best(MODEL)
        await asyncio.sleep(0.3)
        for number, worker in enumerate(workers):
            connection = worker.best(MODEL)
            assert connection is not None
            generation = ModelGeneration()
            generation.send(connection, str(number), ("text_output",), {"text_input": encode_strings([["x"]])})
        await settle()
        assert min(len(model.requests) for model in models) > 0
        for worker in workers:
            worker.close()

    with_sockets(server, use)


def test_a_process_that_died_is_not_used_and_the_next_is_found(start: Callable[..., LocalModel]) -> None:
    """Until the server names another, there is none."""
    first = start()
    server = Server([first.address])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        await look(sockets)
        first.stop()
        await settle()
        clock.offset += SOON_S
        assert await look(sockets) is None
        second = start()
        server.answer = [first.address, second.address]
        assert await look(sockets) is None
        assert len(server.asked) == 2
        clock.offset += SOON_S
        assert await look(sockets) is not None
        await spread(sockets, [second], each=1)

    with_sockets(server, use)


def test_a_leaving_process_is_not_used(start: Callable[..., LocalModel], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for the others at once, unless it has just been."""
    monkeypatch.setattr(server_module, "_LINGER_S", 0.0)
    first, second = start(), start()
    server = Server([first.address])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        await look(sockets)
        server.answer = [second.address]
        clock.offset += SOON_S
        first.server.leave(lambda: True)
        await settle()
        assert sockets.best(MODEL) is None
        await settle()
        assert len(server.asked) == 2
        await spread(sockets, [second], each=2)
        assert first.requests == []

    with_sockets(server, use)


async def is_asked_after(sockets: LocalSockets, server: Server, clock: Clock, seconds: float) -> bool:
    """Whether the server is asked again after so long, and not before."""
    await look(sockets)
    before = len(server.asked)
    clock.offset += seconds - 0.5
    await look(sockets)
    early = len(server.asked) - before
    clock.offset += 0.5
    await look(sockets)
    return (early, len(server.asked) - before) == (0, 1)


ELSEWHERE = ["/dev/shm/qwen_triton_load_elsewhere/requests", "/nowhere/requests", "/tmp/" + "x" * 300]


@pytest.mark.parametrize("addresses", [ELSEWHERE, ELSEWHERE[:1], []], ids=["several", "one", "none"])
def test_a_server_on_another_machine_is_asked_once_a_minute(addresses: list[str]) -> None:
    """Its addresses are not of this machine; likewise a model without any."""
    server = Server(addresses)

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        assert await is_asked_after(sockets, server, clock, LATE_S)
        assert sockets.best(MODEL) is None

    with_sockets(server, use)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (InvalidRequest("is empty", "text_input"), LATE_S),
        (EngineError("a model that fails"), LATE_S),
        (Unavailable("not ready"), SOON_S),
    ],
    ids=["refused", "failed", "unavailable"],
)
def test_a_model_that_does_not_know_the_question_is_asked_once_a_minute(error: QwenTritonError, seconds: float) -> None:
    """One that is not there yet is asked again soon."""
    server = Server(error)

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        assert await is_asked_after(sockets, server, clock, seconds)

    with_sockets(server, use)


@pytest.mark.parametrize("other", ["version", "user"])
def test_processes_that_cannot_be_used_are_asked_for_once_a_minute(
    start: Callable[..., LocalModel], monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    """They speak another version, or run as another user: no later attempt would succeed."""
    server = Server([start().address])
    if other == "user":
        monkeypatch.setattr(local_socket, "same_user", lambda _: False)
    else:
        monkeypatch.setattr(server_module, "VERSION", VERSION + 1)

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        assert await is_asked_after(sockets, server, clock, LATE_S)
        assert sockets.best(MODEL) is None

    with_sockets(server, use)


def test_a_process_whose_socket_does_not_answer_yet_is_tried_again_soon(tmp_path: Path) -> None:
    """Its address is of this machine."""
    (tmp_path / "requests").touch()
    server = Server([*ELSEWHERE, str(tmp_path / "requests")])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        assert await is_asked_after(sockets, server, clock, SOON_S)

    with_sockets(server, use)


def test_one_question_at_a_time_and_a_server_that_says_nothing_is_given_up() -> None:
    """Then it is asked again."""
    server = Server(None)

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        for _ in range(5):
            await look(sockets)
            clock.offset += SOON_S
        assert len(server.asked) == 1
        clock.offset += 10.0
        await settle()
        await look(sockets)
        assert len(server.asked) == 2

    with_sockets(server, use)


def test_closing_breaks_off_requests_and_the_question(start: Callable[..., LocalModel]) -> None:
    first = start()
    server = Server([first.address])

    async def use(sockets: LocalSockets, clock: Clock) -> None:
        del clock
        connection = await look(sockets)
        assert connection is not None
        generation = ModelGeneration()
        generation.send(connection, "1", ("text_output",), {"text_input": encode_strings([["x"]])})
        server.answer = None
        sockets.best("other")
        await settle()
        sockets.close()
        with pytest.raises(Unavailable):
            await generation.read()
        await settle()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with_sockets(server, use)


async def look_now(sockets: LocalSockets) -> LocalSocket | None:
    """The best connection once the server has been asked, whenever it was asked last."""
    sockets.best(MODEL)
    sockets._models[MODEL].look_at = 0.0
    return await look(sockets)


def begin(address: str) -> Callable[[], None]:
    """A process of a model of two that listens at `address`. Returns what ends it."""
    process = LocalServer(address, 2, *[lambda _: None] * 3)
    process.start()
    return process.stop


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([], "the server gives no sockets of it"),
        (["/nowhere/requests"], "nobody listens at /nowhere/requests (No such file or directory)"),
        ([f"/{'x' * 300}/requests"], f"nobody listens at /{'x' * 300}/requests (AF_UNIX path too long)"),
        (Unavailable("the model server does not answer"), "the model server does not answer"),
    ],
)
def test_the_log_says_why_requests_go_over_grpc(
    answer: list[str] | QwenTritonError, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, however often it is found out."""
    caplog.set_level(logging.INFO, LOG)
    server = Server([])
    server.answer = answer

    async def run() -> None:
        sockets = LocalSockets(server.ask)
        assert [await look_now(sockets) for _ in range(3)] == [None] * 3
        sockets.close()

    asyncio.run(run())
    assert caplog.messages == [f"requests to tensorrt_llm_bls go over gRPC: {reason}"]


def test_the_log_says_when_the_way_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With each process that is found, and again after one was lost."""
    caplog.set_level(logging.INFO, LOG)
    first, second = (str(tmp_path / name) for name in ("first", "second"))
    server = Server([first])

    async def run() -> None:
        sockets = LocalSockets(server.ask)
        ends = [begin(first)]
        assert await look_now(sockets) is not None
        assert await look_now(sockets) is not None
        server.answer = [first, second]
        ends.append(begin(second))
        await look_now(sockets)
        connected = list(sockets._models[MODEL].sockets.values())
        for end in ends:
            await asyncio.to_thread(end)
        while any(one.usable for one in connected):
            await asyncio.sleep(0.01)
        server.answer = Unavailable("it is away")
        assert await look_now(sockets) is None
        server.answer = [first]
        end = begin(first)
        assert await look_now(sockets) is not None
        sockets.close()
        await asyncio.to_thread(end)

    asyncio.run(asyncio.wait_for(run(), WAIT_S))
    assert caplog.messages == [
        "requests to tensorrt_llm_bls go straight to 1 of its 2 processes, over Unix sockets",
        "requests to tensorrt_llm_bls go straight to 2 of its 2 processes, over Unix sockets",
        "requests to tensorrt_llm_bls go over gRPC: it is away",
        "requests to tensorrt_llm_bls go straight to 1 of its 2 processes, over Unix sockets",
    ]
