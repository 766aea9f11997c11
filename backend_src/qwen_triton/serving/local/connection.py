"""A client's connection as the model has it: responses of any thread are collected and leave together."""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ...engines.process.messages import MessageReader, encode_message
from ...errors import caller_text
from ...tensors.arrays import Array
from .messages import encode_outputs

_log = logging.getLogger(__name__)


class LocalConnection:
    """The model's end. Any thread may add and send; one thread reads. `blocked()` is called when the client does not read
    fast enough: `send` is to be called again once the socket can be written."""

    def __init__(self, peer: socket.socket, blocked: Callable[[], None]) -> None:
        self.peer = peer
        self.reader = MessageReader()
        self.closed = False
        self._blocked = blocked
        self.client = secrets.token_hex(16)
        """The client's name. No other client can know it."""
        self._lock = threading.Lock()
        self._items: list[Any] = []
        self._unsent = bytearray()

    def call(self, number: int) -> str:
        """The name by which the request of this number is cancelled."""
        return f"{self.client}.{number}"

    @property
    def has_unsent(self) -> bool:
        """Whether something waits until the client reads."""
        return bool(self._unsent)

    def add(self, item: Any) -> None:
        """Adds a response that leaves with the next `send`. Hot."""
        self._items.append(item)

    def send(self, message: bytes = b"") -> None:
        """Sends the responses that were added, then `message`, as far as the client reads."""
        with self._lock:
            if items := self._items[:]:
                del self._items[: len(items)]  # others may have added some meanwhile
                self._unsent += encode_message("responses", items)
            self._unsent += message
            if self.closed:
                self._unsent.clear()
            elif self._unsent:
                self._write()

    def close(self) -> None:
        """Closes the connection; what is added from here on is for nobody."""
        with self._lock:
            self.closed = True
            self._unsent.clear()
            self.peer.close()

    def _write(self) -> None:
        try:
            sent = self.peer.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except OSError as error:  # a part of a message may have left, so nothing can follow
            if not isinstance(error, ConnectionError):
                _log.warning("a local client's connection is closed, because it cannot be written to: %s", error)
            self._unsent.clear()
            with contextlib.suppress(OSError):
                self.peer.shutdown(socket.SHUT_RDWR)  # the reading thread finds the end, and closes it
            return
        del self._unsent[:sent]
        if self._unsent:
            self._blocked()


class LocalResponder:
    """Sends the responses of one request over its client's connection (serving.reply.Responder)."""

    through_server = False
    """As `Reply` has it."""

    def __init__(self, connection: LocalConnection, number: int, request_id: str, outputs: Iterable[str]) -> None:
        self.request_id = request_id
        self.call = connection.call(number)
        self._connection = connection
        self._number = number
        self._outputs = frozenset(outputs)

    def write(self, arrays: Mapping[str, Array], *, final: bool) -> None:
        """Builds one response of those arrays that the client asked for; the last one is `final`."""
        self._connection.add((self._number, encode_outputs(arrays, self._outputs), final))

    def flush(self) -> None:
        """Sends what was built, of this request and of all others on the connection."""
        self._connection.send()

    def fail(self, error: Exception) -> None:
        """Ends the request with the error, behind the responses that were built."""
        self._connection.add((self._number, caller_text(error, self.request_id), True))
        self._connection.send()

    def gone(self) -> bool:
        """Whether the client has disconnected."""
        return self._connection.closed
