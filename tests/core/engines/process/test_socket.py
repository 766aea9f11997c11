"""Unix sockets between processes: whoever waits at a listener is let in, but for another user's processes."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

import pytest

from qwen_triton.engines.process import socket as socket_module
from qwen_triton.engines.process.socket import Entrance, accept, becomes_readable, listen
from tests.support.descriptors import SHORT, no_descriptors, warns_anew

WAIT_S = 20.0
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


def test_without_descriptors_nobody_is_lost(
    listener: socket.socket,
    connect: Callable[[], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are let in once a descriptor is free. The log says it once a minute, however often it is tried."""
    warns_anew(monkeypatch)
    waiting = connect()
    with no_descriptors(but=0):
        for _ in range(10):
            assert accept(listener, WISH) is None
        assert caplog.messages == [SHORT]
        monkeypatch.setattr(socket_module, "_warned_at", time.monotonic() - 60.0)
        assert accept(listener, WISH) is None
        assert caplog.messages == [SHORT] * 2
    peer = accept(listener, WISH)
    assert peer is not None
    with peer:
        peer.send(b"x")
    assert waiting.recv(1) == b"x"


def test_an_entrance_is_closed_for_a_moment_after_nobody_came_in(
    listener: socket.socket, connect: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What else the selector watches is reported meanwhile; whoever waits is reported afterwards, and let in."""
    monkeypatch.setattr(socket_module, "_PAUSE_S", WAIT_S)
    other, to_other = socket.socketpair()
    with selectors.DefaultSelector() as selector, other, to_other:
        entrance = Entrance(listener, selector, "entrance")
        selector.register(other, selectors.EVENT_READ, "other")

        def reported(within_s: float = 0.0) -> set[str]:
            return {key.data for key, _ in selector.select(within_s)}

        assert entrance.wait_s() is None
        connect()
        assert reported() == {"entrance"}
        with no_descriptors(but=0):
            assert entrance.accept(WISH) is None
            to_other.send(b"x")
            assert reported() == {"other"}
            assert 0 < (entrance.wait_s() or 0) <= WAIT_S
        other.recv(1)
        assert reported() == set()
        assert entrance._opens_at is not None
        entrance._opens_at -= WAIT_S
        assert entrance.wait_s() is None
        assert reported(WAIT_S) == {"entrance"}
        peer = entrance.accept(WISH)
        assert peer is not None
        peer.close()
        assert entrance.wait_s() is None


class FullSelector(selectors.DefaultSelector):
    """A selector that watches no more while `full`: the kernel's answer beyond fs.epoll.max_user_watches."""

    full = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().register(fileobj, events, data)


def test_an_entrance_lets_nobody_in_whom_the_kernel_does_not_let_it_watch(
    listener: socket.socket,
    connect: Callable[[], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They are disconnected and may come again; the entrance opens once it can be watched itself."""
    monkeypatch.setattr(socket_module, "_PAUSE_S", 0.01)
    warns_anew(monkeypatch)
    with FullSelector() as selector:
        entrance = Entrance(listener, selector, "entrance")
        first = connect()
        selector.full = True
        assert entrance.accept(WISH) is None
        assert first.recv(1) == b""
        for _ in range(3):
            time.sleep(0.02)
            assert entrance.wait_s()
        assert caplog.messages == [
            SHORT.replace("[Errno 24] Too many open files", "[Errno 28] No space left on device")
        ]
        selector.full = False
        time.sleep(0.02)
        assert entrance.wait_s() is None
        again = connect()
        assert [key.data for key, _ in selector.select(WAIT_S)] == ["entrance"]
        peer = entrance.accept(WISH)
        assert peer is not None
        again.send(b"x")
        assert [key.fileobj for key, _ in selector.select(WAIT_S)] == [peer]
        peer.close()


def test_a_socket_of_any_number_becomes_readable() -> None:
    """Also above those that select() can watch."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    near, far = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(far, fcntl.F_DUPFD, 2000))
    try:
        assert not becomes_readable(high, 0.0)
        near.send(b"x")
        assert becomes_readable(high, WAIT_S)
    finally:
        for each in (near, far, high):
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
