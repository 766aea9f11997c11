"""The local server of a text model's process: accepts clients of the same user and gives their requests to the model.

One thread reads from all of them. A model that is unloaded says so to its clients, which send new requests elsewhere and
disconnect once they have their answers.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...engines.process.messages import encode_message
from ...engines.process.socket import Entrance, Waker, listen
from ..threads import BackgroundThread
from .connection import LocalConnection
from .messages import VERSION, SentRequest

_READ = 1 << 18
_LINGER_S = 5.0
"""A model that leaves and has had no request for so long ends although clients are connected."""
_LOOK_S = 0.02
"""Between two looks at whether the clients of a model that leaves have gone."""
_log = logging.getLogger(__name__)

Admit = Callable[[Sequence[tuple[LocalConnection, SentRequest]]], None]


class LocalServer(BackgroundThread):
    """Listens at the file `address`. `processes`: how many the model has, each with a server of its own.

    `admit` gets the requests that were read together, `cancel` the name of one that is to end (`LocalConnection.call`), `gone`
    that of a client that has disconnected (`LocalConnection.client`). All are called on the server's thread. Raises OSError
    where `address` is in no folder.
    """

    def __init__(
        self,
        address: str,
        processes: int,
        admit: Admit,
        cancel: Callable[[str], None],
        gone: Callable[[str], None],
    ) -> None:
        super().__init__("local")
        self._processes = processes
        self._admit = admit
        self._cancel = cancel
        self._gone = gone
        self._waker = Waker()
        self._listener = listen(address)
        self._connections: set[LocalConnection] = set()
        self._leaving = False

    def leave(self, idle: Callable[[], bool]) -> None:
        """Tells the clients that the model ends; returns when all have disconnected, or none has had a request for 5 s.

        `idle`: whether every request has its answer.
        """
        self._leaving = True  # before the look at who is there: one that connects from here on is told as it is greeted
        for connection in list(self._connections):
            connection.send(encode_message("leaving"))
        until = time.monotonic() + _LINGER_S
        while self._connections and time.monotonic() < until:
            time.sleep(_LOOK_S)
            if not idle():
                until = time.monotonic() + _LINGER_S

    def stop(self) -> None:
        """Ends the thread and the connections."""
        self._stopping.set()
        self._waker.wake()
        super().stop()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            entrance = Entrance(self._listener, selector)
            selector.register(self._waker, selectors.EVENT_READ)
            while not self._stopping.is_set():
                for key, mask in selector.select(entrance.wait_s()):
                    if key.data is not None:
                        self._serve(selector, key.data, mask)
                    elif key.fileobj is self._waker:
                        self._waker.clear()
                        self._watch_blocked(selector)
                    else:
                        self._accept(selector, entrance)
            for connection in list(self._connections):
                self._close(selector, connection)
        self._listener.close()

    def _accept(self, selector: selectors.BaseSelector, entrance: Entrance) -> None:
        peer = entrance.accept("send requests")
        if peer is None:
            return
        connection = LocalConnection(peer, self._waker.wake)
        selector.modify(peer, selectors.EVENT_READ, connection)
        self._connections.add(connection)
        connection.send(encode_message("hello", VERSION, self._processes))
        if self._leaving:
            connection.send(encode_message("leaving"))

    def _watch_blocked(self, selector: selectors.BaseSelector) -> None:
        """Has the selector also wait until the clients that have not read all can be written to again."""
        for connection in self._connections:
            if connection.has_unsent:
                selector.modify(connection.peer, selectors.EVENT_READ | selectors.EVENT_WRITE, connection)

    def _serve(self, selector: selectors.BaseSelector, connection: LocalConnection, mask: int) -> None:
        """Closes a connection that has ended, or that fails: the others must go on."""
        try:
            if mask & selectors.EVENT_WRITE:
                connection.send()
                if not connection.has_unsent:
                    selector.modify(connection.peer, selectors.EVENT_READ, connection)
            over = mask & selectors.EVENT_READ and not self._read(connection)
        except Exception:
            _log.exception("a local client's connection is closed, because it has failed")
            over = True
        if over:
            self._close(selector, connection)

    def _read(self, connection: LocalConnection) -> bool:
        """Handles what has arrived. False where the connection has ended."""
        try:
            data = connection.peer.recv(_READ)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._handle(connection, list(connection.reader.feed(data)))
        return bool(data)

    def _handle(self, connection: LocalConnection, messages: Sequence[list[Any]]) -> None:
        requests = [(connection, SentRequest(*parts)) for kind, *parts in messages if kind == "generate"]
        if requests:
            self._admit(requests)
        for kind, *parts in messages:
            if kind == "cancel":
                self._cancel(connection.call(*parts))

    def _close(self, selector: selectors.BaseSelector, connection: LocalConnection) -> None:
        self._connections.discard(connection)
        selector.unregister(connection.peer)
        connection.close()
        self._gone(connection.client)
