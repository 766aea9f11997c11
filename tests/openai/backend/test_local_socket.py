"""A connection to a text model on this machine, to its real local server: each request gets its answer, or hears why not."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import pytest
import uvloop

from qwen_triton.engines.process.messages import encode_message
from qwen_triton.errors import Cancelled, ConfigurationError, InvalidRequest, QwenTritonError, Unavailable
from qwen_triton.serving.local.messages import VERSION
from qwen_triton.tensors.arrays import encode_strings
from qwen_triton_openai.backend import local_socket
from qwen_triton_openai.backend.generation import ModelGeneration
from qwen_triton_openai.backend.local_socket import LocalSocket
from tests.support.generations import take_back, text_of, until
from tests.support.local_model import LocalModel

BOUND_S = 20.0
OUTPUTS = ("text_output",)
Use = Callable[[LocalSocket], Awaitable[None]]
Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def model() -> Iterator[LocalModel]:
    folder = Path(mkdtemp())
    made = LocalModel(str(folder / "requests"), processes=3)
    yield made
    made.stop()
    rmtree(folder)


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs on the loop that the shim has, and on Python's own."""

    def of(make: Callable[[], Awaitable[Any]]) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(make(), BOUND_S)

        return (uvloop.run if request.param == "uvloop" else asyncio.run)(bounded())

    return of


@pytest.fixture
def with_connection(model: LocalModel, run: Run) -> Callable[[Use], None]:
    def of(use: Use) -> None:
        async def connected() -> None:
            connection = await LocalSocket.connect(model.address)
            try:
                await use(connection)
            finally:
                connection.close()

        run(connected)

    return of


def send(connection: LocalSocket, text: str) -> ModelGeneration:
    generation = ModelGeneration()
    generation.send(connection, f"id {text}", OUTPUTS, {"text_input": encode_strings([[text]])})
    return generation


async def error_of(generation: ModelGeneration) -> QwenTritonError:
    with pytest.raises(QwenTritonError) as raised:
        await text_of(generation)
    return raised.value


def test_the_model_says_how_many_processes_it_has(with_connection: Callable[[Use], None]) -> None:
    async def use(connection: LocalSocket) -> None:
        assert (connection.processes, connection.usable, len(connection)) == (3, True, 0)

    with_connection(use)


def test_every_request_gets_its_own_answer(model: LocalModel, with_connection: Callable[[Use], None]) -> None:
    """200 under way, answered in pieces in any order; requests of one moment arrive together."""
    chance = random.Random(1)
    texts = [f"number {number}: ü{'x' * chance.randrange(2000)}" for number in range(200)]

    async def use(connection: LocalSocket) -> None:
        generations = [send(connection, text) for text in texts]
        assert len(connection) == 200
        await until(lambda: len(model.requests) == 200)
        assert len(model.batches) < 20
        assert {sent.request_id for _, sent in model.requests} == {f"id {text}" for text in texts}
        for final in (False, True):
            order = list(range(200))
            chance.shuffle(order)
            for index in order:
                model.answer(index, final=final)
        assert [await text_of(generation) for generation in generations] == [text * 2 for text in texts]
        assert len(connection) == 0
        assert model.cancelled == []

    with_connection(use)


def test_an_error_ends_its_own_request(model: LocalModel, with_connection: Callable[[Use], None]) -> None:
    """Behind the pieces before it; of the kind and with the words that the model raised."""
    errors = [
        InvalidRequest("must be small", "n"),
        Unavailable("too many; try again"),
        Cancelled("the request was cancelled"),
    ]

    async def use(connection: LocalSocket) -> None:
        generations = [send(connection, str(number)) for number in range(4)]
        await until(lambda: len(model.requests) == 4)
        for index, error in enumerate(errors):
            model.answer(index, b"piece", final=False)
            model.fail(error, index)
        model.answer(3)
        for generation, error in zip(generations, errors, strict=False):
            assert [piece.text for piece in await generation.read()] == ["piece"]
            raised = await error_of(generation)
            assert (type(raised), str(raised)) == (type(error), str(error))
        assert await text_of(generations[3]) == "3"

    with_connection(use)


def test_taking_back_reaches_the_model_and_leaves_the_others(
    model: LocalModel, with_connection: Callable[[Use], None]
) -> None:
    """What the model says of it later is for nobody; one that has ended is not cancelled."""

    async def use(connection: LocalSocket) -> None:
        ended, first, second = (send(connection, name) for name in ("ended", "first", "second"))
        await until(lambda: len(model.requests) == 3)
        model.answer(0)
        assert await text_of(ended) == "ended"
        ended.cancel()
        await take_back(first)
        await until(lambda: bool(model.cancelled))
        assert model.cancelled == [model.requests[1][0].call(2)]
        assert len(connection) == 1
        model.answer(1)
        model.answer(2)
        assert await text_of(second) == "second"
        with pytest.raises(Cancelled):
            await first.read()

    with_connection(use)


def test_a_task_that_is_cancelled_is_cancelled(model: LocalModel, with_connection: Callable[[Use], None]) -> None:
    """It is not taken for a request that was taken back."""

    async def use(connection: LocalSocket) -> None:
        reading = asyncio.create_task(send(connection, "x").read())
        await until(lambda: len(model.requests) == 1)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading

    with_connection(use)


def test_a_slow_reader_holds_up_nobody_and_gets_all(model: LocalModel, with_connection: Callable[[Use], None]) -> None:
    async def use(connection: LocalSocket) -> None:
        slow, fast = send(connection, "slow"), send(connection, "fast")
        await until(lambda: len(model.requests) == 2)
        for number in range(300):
            model.answer(0, b"%d " % number, final=number == 299)
        model.answer(1)
        assert await text_of(fast) == "fast"
        assert await text_of(slow) == "".join(f"{number} " for number in range(300))

    with_connection(use)


def test_all_requests_of_a_process_that_has_died_hear_of_it(
    model: LocalModel, with_connection: Callable[[Use], None]
) -> None:
    """At once and with the remedy, behind what they got before; one that had its answer has it."""

    async def use(connection: LocalSocket) -> None:
        whole, *generations = [send(connection, str(number)) for number in range(20)]
        await until(lambda: len(model.requests) == 20)
        model.answer(0)
        model.answer(1, b"begun", final=False)
        assert [piece.text for piece in await generations[0].read()] == ["begun"]
        model.stop()
        for generation in generations:
            raised = await error_of(generation)
            assert (type(raised), str(raised)) == (Unavailable, "the model's process ended; try again")
        assert await text_of(whole) == "0"
        assert (connection.usable, len(connection)) == (False, 0)

    with_connection(use)


def test_a_leaving_model_gets_no_more_requests_and_answers_those_it_has(
    model: LocalModel, with_connection: Callable[[Use], None]
) -> None:
    """Then its client disconnects, and it ends without waiting."""

    async def use(connection: LocalSocket) -> None:
        generation, taken_back = send(connection, "late"), send(connection, "back")
        await until(lambda: len(model.requests) == 2)
        leaving = threading.Thread(target=model.server.leave, args=(lambda: False,))
        leaving.start()
        await until(lambda: not connection.usable)
        taken_back.cancel()
        await asyncio.sleep(0.1)
        assert leaving.is_alive()
        model.answer(0)
        assert await text_of(generation) == "late"
        await until(lambda: not leaving.is_alive())

    with_connection(use)


def test_a_client_that_takes_its_last_request_back_lets_a_model_leave(
    model: LocalModel, with_connection: Callable[[Use], None]
) -> None:
    """The model sees that nobody waits for the answer."""

    async def use(connection: LocalSocket) -> None:
        generation = send(connection, "x")
        await until(lambda: len(model.requests) == 1)
        leaving = threading.Thread(target=model.server.leave, args=(lambda: False,))
        leaving.start()
        await until(lambda: not connection.usable)
        generation.cancel()
        await until(lambda: not leaving.is_alive())
        assert model.requests[0][0].closed

    with_connection(use)


def test_an_idle_client_lets_a_model_leave_at_once(model: LocalModel, with_connection: Callable[[Use], None]) -> None:
    async def use(connection: LocalSocket) -> None:
        leaving = threading.Thread(target=model.server.leave, args=(lambda: False,))
        leaving.start()
        await until(lambda: not leaving.is_alive())
        assert not connection.usable

    with_connection(use)


def test_closing_breaks_off_all_requests(model: LocalModel, with_connection: Callable[[Use], None]) -> None:
    async def use(connection: LocalSocket) -> None:
        generation = send(connection, "x")
        await until(lambda: len(model.requests) == 1)
        connection.close()
        assert not connection.usable
        assert type(await error_of(generation)) is Unavailable
        await until(lambda: model.requests[0][0].closed)

    with_connection(use)


class Peer:
    """Listens at an address and says to its first client what it is told; then it hears until the client goes."""

    def __init__(self, said: bytes, *, closes: bool = False) -> None:
        self.folder = Path(mkdtemp())
        self.address = str(self.folder / "requests")
        self.heard = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.address)
        self._listener.listen()
        self._thread = threading.Thread(target=self._serve, args=(said, closes))
        self._thread.start()

    def _serve(self, said: bytes, closes: bool) -> None:
        peer, _ = self._listener.accept()
        with contextlib.suppress(OSError):  # the client has gone without a word
            peer.sendall(said)
            while not closes and (data := peer.recv(4096)):
                self.heard += data
        peer.close()

    def end(self) -> None:
        """Once its client has gone."""
        self._thread.join(BOUND_S)
        assert not self._thread.is_alive()
        self._listener.close()
        rmtree(self.folder)


def refused(run: Run, address: str) -> QwenTritonError:
    """Why no connection was made."""

    async def connect() -> QwenTritonError:
        with pytest.raises(QwenTritonError) as raised:
            await LocalSocket.connect(address)
        return raised.value

    error = run(connect)
    assert isinstance(error, QwenTritonError)
    return error


@pytest.mark.parametrize("facts", [(3,), (), ("more", {"of": "them"})])
def test_a_model_of_another_version_is_told_nothing(run: Run, facts: tuple[Any, ...]) -> None:
    """Whatever else it says when it greets."""
    peer = Peer(encode_message("hello", VERSION + 1, *facts))
    error = refused(run, peer.address)
    assert isinstance(error, ConfigurationError)
    assert "another version" in str(error)
    peer.end()
    assert peer.heard == b""


def test_a_model_of_another_user_is_told_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that speaks this version."""
    monkeypatch.setattr(local_socket, "same_user", lambda _: False)
    peer = Peer(encode_message("hello", VERSION, 1))
    error = refused(run, peer.address)
    assert isinstance(error, ConfigurationError)
    assert "another user" in str(error)
    peer.end()
    assert peer.heard == b""


@pytest.mark.parametrize(
    ("said", "closes"),
    [
        (b"", False),
        (b"", True),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", False),
        (b"\1\0\0\0\xc1", False),
        (b"\1\0\0\0\x05", False),
    ],
)
def test_who_does_not_greet_is_no_model(
    run: Run, monkeypatch: pytest.MonkeyPatch, said: bytes, closes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Within a bound; and what is no message closes the connection."""
    monkeypatch.setattr(local_socket, "_CONNECT_S", 0.3)
    peer = Peer(said, closes=closes)
    error = refused(run, peer.address)
    reason = "the connection was closed" if closes or said.startswith(b"\1") else "no answer"
    assert (type(error), str(error)) == (Unavailable, f"nobody listens at {peer.address} ({reason})")
    peer.end()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("address", ["/nowhere/requests", "/tmp/" + "x" * 200, "/dev/null", ""])
def test_nobody_at_an_address(run: Run, address: str) -> None:
    assert type(refused(run, address)) is Unavailable
