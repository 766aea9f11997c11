"""A client's connection at the model: responses of any thread leave once and in order; who does not read holds up nobody."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from qwen_triton.engines.process.messages import MessageReader, encode_message
from qwen_triton.errors import Cancelled, EngineError, InvalidRequest
from qwen_triton.serving.local.connection import LocalConnection, LocalResponder
from tests.support.live.waiting import becomes

WAIT_S = 20.0
THREADS, REQUESTS, RESPONSES = 4, 5, 400
BIG = b"x" * 100_000


class Client:
    """The other end of a connection, which reads when it is told to. `blocked`: how often the model's end could not write."""

    def __init__(self) -> None:
        mine, peer = socket.socketpair()
        mine.settimeout(WAIT_S)
        peer.setblocking(False)
        self.socket = mine
        self.blocked = 0
        self.connection = LocalConnection(peer, self._on_blocked)
        self._reader = MessageReader()

    def _on_blocked(self) -> None:
        self.blocked += 1

    def read(self, most: int = 1 << 16) -> list[list[Any]]:
        """The messages that are complete once some bytes more were read."""
        return list(self._reader.feed(self.socket.recv(most)))

    def items(self, count: int) -> list[list[Any]]:
        """So many responses, the model's end writing on as a thread that waits until it can."""
        found: list[list[Any]] = []
        while len(found) < count:
            found += [item for _, items in self.read() for item in items]
            self.connection.send()
        return found


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client()
    yield made
    made.connection.close()
    made.socket.close()


def test_responses_of_several_threads_leave_once_and_in_order_of_each_request(client: Client) -> None:
    """Each thread adds to requests of its own and sends when it likes; another one may send them for it."""
    start = threading.Barrier(THREADS)

    def answer(thread: int) -> None:
        start.wait(WAIT_S)
        for number in range(RESPONSES):
            for request in range(REQUESTS):
                client.connection.add((thread * REQUESTS + request, {"text_output": b"%d" % number}, False))
                if (number + request) % 3 == 0:
                    client.connection.send()
        client.connection.send()

    threads = [threading.Thread(target=answer, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    found: dict[int, list[int]] = defaultdict(list)
    for request, outputs, _ in client.items(THREADS * REQUESTS * RESPONSES):
        found[request].append(int(outputs["text_output"]))
    for thread in threads:
        thread.join()
    assert found == {request: list(range(RESPONSES)) for request in range(THREADS * REQUESTS)}
    assert not client.connection.has_unsent


def test_responses_that_were_added_leave_together_and_before_the_message(client: Client) -> None:
    for number in (1, 2):
        client.connection.add((number, {}, True))
    client.connection.send(encode_message("leaving"))
    assert client.read() == [["responses", [[1, {}, True], [2, {}, True]]], ["leaving"]]
    client.connection.send()
    client.connection.send(encode_message("hello"))
    assert client.read() == [["hello"]]


def test_a_client_that_does_not_read_holds_up_no_thread_and_gets_all_of_it_later(client: Client) -> None:
    """The threads that answer add what it is to get; whoever waits for the socket is told that something waits."""
    done: list[int] = []

    def answer() -> None:
        for number in range(100):
            client.connection.add((number, {"text_output": BIG}, True))
            client.connection.send()
        done.append(1)

    thread = threading.Thread(target=answer)
    thread.start()
    thread.join(WAIT_S)
    assert done == [1]
    assert client.connection.has_unsent
    assert client.blocked > 0
    assert [(number, outputs["text_output"] == BIG) for number, outputs, _ in client.items(100)] == [
        (number, True) for number in range(100)
    ]
    assert becomes(lambda: not client.connection.has_unsent, WAIT_S)


@pytest.mark.parametrize("end", ["closed by the client", "closed here"])
def test_what_is_sent_to_a_client_that_has_gone_is_for_nobody(client: Client, end: str) -> None:
    if end == "closed here":
        client.connection.close()
    client.socket.close()
    for _ in range(2):
        client.connection.add((1, {"text_output": BIG}, False))
        client.connection.send(encode_message("leaving"))
    assert not client.connection.has_unsent
    assert client.blocked == 0


def test_nobody_can_guess_the_name_of_a_request(client: Client) -> None:
    """Another client's request of the same number has another one."""
    other = Client()
    assert client.connection.call(1) != other.connection.call(1)
    assert client.connection.call(1) != client.connection.call(11)
    assert client.connection.call(1) == client.connection.call(1)
    assert len(client.connection.call(1)) >= 32
    other.connection.close()
    other.socket.close()


Answer = Callable[[LocalResponder], None]


@pytest.fixture
def answered(client: Client) -> Callable[[Answer], list[list[Any]]]:
    """What the client hears of a request 5 with the id «mine» that asks for `text_output`."""

    def hear(answer: Answer) -> list[list[Any]]:
        answer(LocalResponder(client.connection, 5, "mine", ["text_output"]))
        client.connection.send(encode_message("end"))
        *found, end = client.read()
        assert end == ["end"]
        return found

    return hear


def array(text: bytes) -> dict[str, Any]:
    return {"text_output": np.array([text], np.object_), "finish_reason": np.array([b"length"], np.object_)}


def test_a_responder_sends_what_was_asked_for(answered: Callable[[Answer], list[list[Any]]]) -> None:
    def answer(responder: LocalResponder) -> None:
        assert responder.request_id == "mine"
        responder.write(array(b"a"), final=False)
        responder.write(array(b"b"), final=True)
        responder.flush()

    raw = [b"\1\0\0\0a", b"\1\0\0\0b"]
    assert answered(answer) == [
        ["responses", [[5, {"text_output": raw[0]}, False], [5, {"text_output": raw[1]}, True]]]
    ]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InvalidRequest("must be small", "n"), "n: must be small"),
        (InvalidRequest("half a pair: \ud800", "x\udfff"), "x?: half a pair: ?"),
        (Cancelled("the request was cancelled"), "the request was cancelled"),
        (EngineError("a secret"), "internal error; the server's log has the cause under request mine"),
    ],
)
def test_an_error_ends_the_request_behind_what_was_written(
    answered: Callable[[Answer], list[list[Any]]], error: Exception, said: str
) -> None:
    """What is no Unicode in it is replaced: nothing that a caller sends can keep the answers of others from leaving."""

    def answer(responder: LocalResponder) -> None:
        responder.write(array(b"a"), final=False)
        responder.fail(error)

    assert answered(answer) == [["responses", [[5, {"text_output": b"\1\0\0\0a"}, False], [5, said, True]]]]


def test_a_request_whose_connection_is_closed_has_lost_its_client(client: Client) -> None:
    responder = LocalResponder(client.connection, 5, "", [])
    assert not responder.gone()
    client.connection.close()
    assert responder.gone()
