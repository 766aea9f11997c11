"""Which way requests go, as the shim's log says it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from qwen_triton.errors import QwenTritonError, Unavailable
from qwen_triton.serving.local.server import LocalServer
from qwen_triton_openai.backend.local_socket import LocalSocket
from qwen_triton_openai.backend.local_sockets import LocalSockets

LOG = "qwen_triton_openai.backend.local_sockets"
WAIT_S = 20.0


class AskedServer:
    """A server that says where the processes of its model listen. An answer that is an error is raised."""

    def __init__(self, *addresses: str) -> None:
        self.answer: list[str] | QwenTritonError = list(addresses)

    async def ask(self, model: str) -> list[str]:
        assert model == "m"
        if isinstance(self.answer, QwenTritonError):
            raise self.answer
        return list(self.answer)


async def look(sockets: LocalSockets) -> LocalSocket | None:
    """Asks for a connection, has the server asked at once, and asks again."""
    sockets.best("m")
    known = sockets._models["m"]
    known.look_at = 0.0
    sockets.best("m")
    assert known.looking is not None
    await asyncio.wait_for(known.looking, WAIT_S)
    return sockets.best("m")


def begin(address: str) -> Callable[[], None]:
    """A process of a model of two that listens at `address`. Returns what ends it."""
    process = LocalServer(address, 2, lambda _: None, lambda _: None)
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
    server = AskedServer()
    server.answer = answer

    async def run() -> None:
        sockets = LocalSockets(server.ask)
        assert [await look(sockets) for _ in range(3)] == [None] * 3
        sockets.close()

    asyncio.run(run())
    assert caplog.messages == [f"requests to m go over gRPC: {reason}"]


def test_the_log_says_when_the_way_changes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With each process that is found, and again after one was lost."""
    caplog.set_level(logging.INFO, LOG)
    first, second = (str(tmp_path / name) for name in ("first", "second"))
    server = AskedServer(first)

    async def run() -> None:
        sockets = LocalSockets(server.ask)
        ends = [begin(first)]
        assert await look(sockets) is not None
        assert await look(sockets) is not None
        server.answer = [first, second]
        ends.append(begin(second))
        await look(sockets)
        connected = list(sockets._models["m"].sockets.values())
        for end in ends:
            await asyncio.to_thread(end)
        while any(one.usable for one in connected):
            await asyncio.sleep(0.01)
        server.answer = Unavailable("it is away")
        assert await look(sockets) is None
        server.answer = [first]
        end = begin(first)
        assert await look(sockets) is not None
        sockets.close()
        await asyncio.to_thread(end)

    asyncio.run(asyncio.wait_for(run(), WAIT_S))
    assert caplog.messages == [
        "requests to m go straight to 1 of its 2 processes, over Unix sockets",
        "requests to m go straight to 2 of its 2 processes, over Unix sockets",
        "requests to m go over gRPC: it is away",
        "requests to m go straight to 1 of its 2 processes, over Unix sockets",
    ]
