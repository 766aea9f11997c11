"""A client that leaves takes its requests with it, in both modes, before the first token and after."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from qwen_triton.tensors.text_outputs import TextPiece
from qwen_triton_openai.app import create_app
from qwen_triton_openai.settings import ShimSettings
from tests.support.asgi import Connection
from tests.support.fake_triton import FakeTriton, answer, chat_body, completion_body, events, shim_client

BOUND_S = 10.0
CHAT = "/v1/chat/completions"

Client = Callable[["Connection"], Awaitable[None]]


def exchange(triton: FakeTriton, path: str, body: dict[str, Any], client: Client, **settings: Any) -> Connection:
    """Runs one request with a client's behaviour beside it, until the application has done with it."""

    async def run() -> Connection:
        app = create_app(ShimSettings(**settings), lambda _: triton)
        connection = Connection(path, body)
        async with app.router.lifespan_context(app):
            behaviour = asyncio.create_task(client(connection))  # type: ignore[arg-type]  # a coroutine it is
            await asyncio.wait_for(app(connection.scope, connection.receive, connection.send), BOUND_S)
            await behaviour
        return connection

    return asyncio.run(run())


async def leave_at_once(connection: Connection) -> None:
    """While the request waits for its first token."""
    await asyncio.sleep(0.05)
    connection.leave()


async def leave_when_told(connection: Connection) -> None:
    """When something has come."""
    await asyncio.wait_for(connection.told.wait(), BOUND_S)
    connection.leave()


async def stay(_: Connection) -> None:
    """To the end."""


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("path", "body"), [(CHAT, chat_body()), ("/v1/responses", {"model": "qwen", "input": "hi"})])
def test_who_leaves_before_the_first_token_gives_its_slot_back(path: str, body: dict[str, Any], streamed: bool) -> None:
    """Also while the request is queued: nothing has to be sent for it to be noticed."""
    triton = FakeTriton([], endless=True)
    connection = exchange(triton, path, body | {"stream": streamed}, leave_at_once)
    assert [g.cancelled for g in triton.generations] == [True]
    assert "data:" not in connection.text


def test_who_leaves_a_stream_gives_its_slot_back() -> None:
    """And gets no error event: nobody is there."""
    triton = FakeTriton([TextPiece("hel")], endless=True)
    connection = exchange(triton, CHAT, chat_body(stream=True), leave_when_told)
    assert [g.cancelled for g in triton.generations] == [True]
    assert "error" not in connection.text


def test_who_leaves_takes_all_prompts_along() -> None:
    """Each prompt of a request is a request to Triton."""
    triton = FakeTriton([], endless=True)
    exchange(triton, "/v1/completions", completion_body(prompt=["a", "b", "c"]), leave_at_once)
    assert [g.cancelled for g in triton.generations] == [True] * 3


def test_silence_is_filled_with_comments_when_asked_to() -> None:
    """A comment is no event; headers go out with the first."""
    triton = FakeTriton([], endless=True)
    connection = exchange(triton, CHAT, chat_body(stream=True), leave_when_told, keep_alive_s=0.02)
    assert connection.text.startswith(": waiting\n\n")
    assert triton.generations[0].cancelled


def test_each_silence_is_filled_as_long_as_it_lasts() -> None:
    """Also behind the first piece, again and again, and a stream that has ended carries none."""

    async def wait_for_three(connection: Connection) -> None:
        while connection.text.count(": waiting\n\n") < 3:
            await asyncio.sleep(0.005)
        connection.leave()

    triton = FakeTriton([TextPiece("hel")], endless=True)
    connection = exchange(triton, CHAT, chat_body(stream=True), wait_for_three, keep_alive_s=0.02)
    head, *_ = connection.text.partition(": waiting\n\n")
    assert '"hel"' in head
    assert triton.generations[0].cancelled
    quick = exchange(
        FakeTriton([TextPiece("x")] * 50 + [answer("")]), CHAT, chat_body(stream=True), stay, keep_alive_s=5
    )
    assert ": waiting" not in quick.text


@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_that_ended_is_let_go_of(streamed: bool) -> None:
    """Ending what has ended does no harm, forgetting one would."""
    triton = FakeTriton([answer("x")])
    connection = exchange(triton, CHAT, chat_body(stream=streamed), stay)
    assert connection.sent[0]["status"] == 200
    assert triton.generations[0].cancelled


ODD = "a\u2028b\u2029c\x85d北京"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_readers_of_lines_do_not_split_within_an_answer(path: str) -> None:
    """Some split at more than LF and CR: such characters are escaped in JSON, whole and streamed, and mean the same."""
    body = chat_body() if "chat" in path else completion_body()
    with shim_client(FakeTriton([answer(ODD)])) as client:
        whole, streamed = client.post(path, json=body), client.post(path, json=body | {"stream": True})
    assert len(whole.text.splitlines()) == 1
    assert all(line == "" or line.startswith("data: ") for line in streamed.text.splitlines())
    [choice] = whole.json()["choices"]
    assert (choice["text"] if "text" in choice else choice["message"]["content"]) == ODD
    told = [c for e in events(streamed.text)[:-1] for c in e["choices"]]
    assert "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in told) == ODD
