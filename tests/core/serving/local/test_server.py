"""A model's local server: clients' requests reach the model, each client has its own answers, and a leaving model waits."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

from qwen_triton.engines.process.messages import MessageReader, encode_message
from qwen_triton.serving.local import server as server_module
from qwen_triton.serving.local.messages import VERSION, encode_request
from qwen_triton.serving.local.server import LocalServer
from tests.support.descriptors import SHORT, no_descriptors, turns_in_circles, warns_anew
from tests.support.live.waiting import becomes
from tests.support.local_model import LocalModel

WAIT_S = 20.0
PROCESSES = 3


class Client:
    """A client as its bytes are."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(address)
        self._reader = MessageReader()
        self._read: list[list[Any]] = []

    def message(self) -> list[Any]:
        """The next one; [] at the end of the connection."""
        while not self._read:
            if not (data := self.socket.recv(1 << 18)):
                return []
            self._read += self._reader.feed(data)
        return self._read.pop(0)

    def hello(self) -> list[Any]:
        return self.message()

    def send(self, *messages: bytes) -> None:
        self.socket.sendall(b"".join(messages))

    def ask(self, number: int, text: bytes = b"") -> None:
        self.send(generate(number, text))

    def answer(self) -> list[list[Any]]:
        """The items of the next message."""
        kind, items = self.message()
        assert kind == "responses"
        return items

    def is_closed(self) -> bool:
        try:
            return self.message() == []
        except ConnectionResetError:  # closed before it had read all
            return True

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def model() -> Iterator[LocalModel]:
    folder = Path(mkdtemp())
    made = LocalModel(str(folder / "requests"), PROCESSES)
    yield made
    made.stop()
    rmtree(folder)


@pytest.fixture
def connect(model: LocalModel) -> Iterator[Callable[[], Client]]:
    """A client that the model has greeted."""
    made: list[Client] = []

    def new() -> Client:
        made.append(Client(model.address))
        assert made[-1].hello() == ["hello", VERSION, PROCESSES]
        return made[-1]

    yield new
    for client in made:
        client.close()


def generate(number: int, text: bytes) -> bytes:
    return encode_request(number, f"id {number}", ("text_output",), {"text_input": np.array([[text]], np.object_)})


def raw(text: bytes) -> dict[str, bytes]:
    return {"text_output": len(text).to_bytes(4, "little") + text}


def test_each_client_gets_the_answers_to_its_own_requests(model: LocalModel, connect: Callable[[], Client]) -> None:
    """Clients number their requests alike; the answers come in another order."""
    clients = [connect() for _ in range(5)]
    for name, client in enumerate(clients):
        for number in range(4):
            client.ask(number, b"%d of %d" % (number, name))
    assert model.has(20)
    for index in reversed(range(20)):
        model.answer(index)
    for name, client in enumerate(clients):
        found = [item for _ in range(4) for item in client.answer()]
        assert found == [[number, raw(b"%d of %d" % (number, name)), True] for number in reversed(range(4))]


def test_requests_that_arrive_together_are_admitted_together(model: LocalModel, connect: Callable[[], Client]) -> None:
    connect().send(*(generate(number, b"x") for number in range(5)))
    assert model.has(5)
    assert model.batches == [5]
    assert [(sent.number, sent.request_id, sent.outputs) for _, sent in model.requests] == [
        (number, f"id {number}", ["text_output"]) for number in range(5)
    ]


def test_a_message_in_halves_is_one(model: LocalModel, connect: Callable[[], Client]) -> None:
    """Whatever another client sends between them."""
    first, second = connect(), connect()
    data = generate(1, b"whole")
    for size in range(len(data)):
        first.send(data[size : size + 1])
        if size == 10:
            second.ask(2, b"other")
            assert model.has(1)
    assert model.has(2)
    assert [sent.inputs["text_input"] for _, sent in model.requests] == [[[1, 1], [b"other"]], [[1, 1], [b"whole"]]]


def test_a_cancellation_names_a_request_of_the_same_client(model: LocalModel, connect: Callable[[], Client]) -> None:
    """Behind the request that it arrives with; another client's request of that number is not meant."""
    first, second = connect(), connect()
    second.ask(1)
    assert model.has(1)
    first.send(generate(1, b""), encode_message("cancel", 1))
    assert becomes(lambda: bool(model.cancelled), WAIT_S)
    assert model.has(2)
    assert model.cancelled == [model.requests[1][0].call(1)]
    assert model.cancelled != [model.requests[0][0].call(1)]


@pytest.mark.parametrize(
    "garbage",
    [
        b"\1\0\0\0\xc1",
        b"\1\0\0\0\x05",
        encode_message("generate", 1),
        encode_message("generate"),
        encode_message("cancel", 1, 2),
        encode_message(),
        b"\2\0\0\0\xa1\xff",
    ],
)
def test_garbage_closes_its_own_connection_only(
    model: LocalModel, connect: Callable[[], Client], garbage: bytes
) -> None:
    first, second = connect(), connect()
    second.ask(1, b"well")
    first.send(garbage)
    assert first.is_closed()
    assert model.has(1)
    model.answer()
    assert second.answer() == [[1, raw(b"well"), True]]
    connect().ask(1)
    assert model.has(2)


def test_what_the_model_raises_closes_the_connection_of_the_request_only(
    model: LocalModel, connect: Callable[[], Client]
) -> None:
    """Its client knows then that there is no answer."""
    first, second = connect(), connect()
    model.fails = True
    first.ask(1)
    assert first.is_closed()
    model.fails = False
    second.ask(1)
    assert model.has(1)


def test_messages_of_another_kind_are_passed_over(model: LocalModel, connect: Callable[[], Client]) -> None:
    client = connect()
    client.send(encode_message("of a later version", 1, 2), generate(1, b""))
    assert model.has(1)


def test_a_client_that_does_not_read_gets_all_later_and_holds_up_no_other(
    model: LocalModel, connect: Callable[[], Client]
) -> None:
    slow, fast = connect(), connect()
    text = b"x" * 50_000
    for number in range(40):
        slow.ask(number)
        assert model.has(number + 1)
        model.answer(text=text)
    connection = model.requests[0][0]
    assert connection.has_unsent
    fast.ask(1, b"fast")
    assert model.has(41)
    model.answer()
    assert fast.answer() == [[1, raw(b"fast"), True]]
    assert connection.has_unsent
    found: list[list[Any]] = []
    while len(found) < 40:
        found += slow.answer()
    assert [(number, outputs == raw(text)) for number, outputs, _ in found] == [(number, True) for number in range(40)]
    assert becomes(lambda: not connection.has_unsent, WAIT_S)


def test_a_server_that_waits_for_a_client_to_read_uses_no_processor_time(
    model: LocalModel, connect: Callable[[], Client]
) -> None:
    slow = connect()
    slow.ask(1)
    assert model.has(1)
    model.answer(text=b"x" * 5_000_000)
    assert model.requests[0][0].has_unsent
    began = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - began < 0.25
    assert slow.answer() == [[1, raw(b"x" * 5_000_000), True]]
    began = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - began < 0.25


def test_the_request_of_a_client_that_has_gone_has_lost_it(model: LocalModel, connect: Callable[[], Client]) -> None:
    """Seen as the request's responder sees it, and an answer all the same is for nobody."""
    client, other = connect(), connect()
    client.ask(1)
    assert model.has(1)
    connection = model.requests[0][0]
    assert not connection.closed
    client.close()
    assert becomes(lambda: model.gone == [connection.client], WAIT_S)
    assert connection.closed
    assert connection.call(1) == f"{connection.client}.1"
    model.answer()
    other.ask(1, b"well")
    assert model.has(2)
    model.answer()
    assert other.answer() == [[1, raw(b"well"), True]]


@contextmanager
def leaving(model: LocalModel, idle: Callable[[], bool]) -> Iterator[threading.Event]:
    """The model leaves meanwhile; the event is set when it has left."""
    left = threading.Event()

    def leave() -> None:
        model.server.leave(idle)
        left.set()

    thread = threading.Thread(target=leave)
    thread.start()
    yield left
    thread.join(WAIT_S)
    assert not thread.is_alive()


def test_a_model_without_clients_leaves_at_once(model: LocalModel) -> None:
    with leaving(model, lambda: True) as left:
        assert left.wait(server_module._LINGER_S / 2)


def test_a_model_leaves_once_its_clients_have_their_answers_and_have_gone(
    model: LocalModel, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long an answer takes."""
    monkeypatch.setattr(server_module, "_LINGER_S", 0.1)
    busy, idle = connect(), connect()
    busy.ask(1, b"late")
    assert model.has(1)
    answered = threading.Event()
    with leaving(model, answered.is_set) as left:
        assert (busy.message(), idle.message()) == (["leaving"], ["leaving"])
        idle.close()
        assert not left.wait(0.5)
        model.answer()
        assert busy.answer() == [[1, raw(b"late"), True]]
        busy.close()
        answered.set()
        assert left.wait(WAIT_S)


def test_a_client_that_stays_without_a_request_keeps_a_model_for_a_bounded_time(
    model: LocalModel, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "_LINGER_S", 0.5)
    client, began = connect(), time.monotonic()
    with leaving(model, lambda: True) as left:
        assert client.message() == ["leaving"]
        assert left.wait(WAIT_S)
    assert time.monotonic() - began >= 0.5
    model.stop()
    assert client.is_closed()


def test_the_time_is_five_seconds() -> None:
    assert server_module._LINGER_S == 5.0


def test_a_client_that_connects_to_a_leaving_model_is_told(model: LocalModel, connect: Callable[[], Client]) -> None:
    """It has asked for the address before the model withdrew it."""
    staying = connect()
    with leaving(model, lambda: True) as left:
        assert staying.message() == ["leaving"]
        late = connect()
        assert late.message() == ["leaving"]
        late.close()
        staying.close()
        assert left.wait(WAIT_S)


def test_a_server_that_stops_closes_its_connections(model: LocalModel, connect: Callable[[], Client]) -> None:
    """And nobody can connect."""
    clients = [connect() for _ in range(3)]
    model.stop()
    assert all(client.is_closed() for client in clients)
    with pytest.raises(ConnectionRefusedError):
        Client(model.address)


def test_a_socket_that_a_killed_process_left_is_replaced(model: LocalModel) -> None:
    again = LocalServer(model.address, 1, *[lambda _: None] * 3)
    again.start()
    client = Client(model.address)
    assert client.hello() == ["hello", VERSION, 1]
    client.close()
    again.stop()


def test_another_user_who_can_connect_hears_nothing(
    model: LocalModel, connect: Callable[[], Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel says of the peer counts; the model is served on for its own user."""
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)
    stranger = Client(model.address)
    assert stranger.is_closed()
    monkeypatch.undo()
    connect().ask(1)
    assert model.has(1)


def test_without_descriptors_clients_are_served_on_and_new_ones_later(
    model: LocalModel,
    connect: Callable[[], Client],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The new one waits, and neither the log nor a core is filled with it."""
    warns_anew(monkeypatch)
    client = connect()
    with no_descriptors(but=1):
        late = Client(model.address)
        assert becomes(lambda: caplog.messages == [SHORT], WAIT_S)
        assert not turns_in_circles()
        client.ask(1, b"well")
        assert model.has(1)
        model.answer()
        assert client.answer() == [[1, raw(b"well"), True]]
    assert late.hello() == ["hello", VERSION, PROCESSES]
    assert caplog.messages == [SHORT]
    late.close()
