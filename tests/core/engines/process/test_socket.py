"""Unix sockets between processes: whoever waits at a listener is let in, but for another user's processes."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest

from qwen_triton.engines.process import socket as socket_module
from qwen_triton.engines.process.socket import accept, listen

WISH = "be let in"
REFUSED = "a process of another user wanted to be let in; its connection is closed"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    folder = Path(mkdtemp())
    made = listen(str(folder / "door"))
    yield made
    made.close()
    rmtree(folder)


@pytest.fixture
def connect(listener: socket.socket) -> Iterator[Callable[[], socket.socket]]:
    """A process that has connected, and waits to be let in."""
    made: list[socket.socket] = []

    def new() -> socket.socket:
        made.append(socket.socket(socket.AF_UNIX))
        made[-1].connect(listener.getsockname())
        return made[-1]

    yield new
    for peer in made:
        peer.close()


def test_those_who_wait_are_let_in_one_by_one(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """Nobody waits for one who does not come, or does not say anything."""
    assert accept(listener, WISH) is None
    for waiting in (connect(), connect()):
        peer = accept(listener, WISH)
        assert peer is not None
        with peer, pytest.raises(BlockingIOError):
            peer.recv(1)
        assert waiting.recv(1) == b""
    assert accept(listener, WISH) is None


def test_other_users_are_disconnected_and_keep_nobody_out(
    listener: socket.socket,
    connect: Callable[[], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The one who waits behind them is let in at once."""
    strangers, mine = [connect(), connect()], connect()
    verdicts = [False, False, True]
    monkeypatch.setattr(socket_module, "same_user", lambda _: verdicts.pop(0))
    peer = accept(listener, WISH)
    assert peer is not None
    with peer:
        peer.send(b"x")
    assert mine.recv(1) == b"x"
    assert [stranger.recv(1) for stranger in strangers] == [b"", b""]
    assert caplog.messages == [REFUSED] * 2
