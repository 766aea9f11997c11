"""The lifeline: a local connection between a model's process and the launcher, open for as long as the model serves.

tritonserver does not notice that the process of a Python model has died, and its callers would wait for ever; nor does it
refuse new requests while it ends. The launcher listens at a random abstract address that its children find in the
environment. A model connects once it is loaded. A message is a word, or two, and a line end:

    to the launcher   serving MODEL, idle (it refuses new requests, and has answered all others), leaving (it is unloaded)
    to the model      drain (refuse new requests from now on)

A connection that ends without «leaving» is a process that has died. Without a launcher there is no lifeline.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection

from ...engines.process.socket import accept, listen, same_user

VARIABLE = "QWEN_TRITON_LIFELINE"
"""The environment variable that has the launcher's address."""
_POLL_S = 0.02
_READ = 4096
_log = logging.getLogger(__name__)


class Lifeline:
    """A model's end. `drain()` makes the model refuse new requests; `idle()`: whether it has answered all others."""

    def __init__(self, model: str, drain: Callable[[], None], idle: Callable[[], bool]) -> None:
        self._model = model
        self._drain = drain
        self._idle = idle
        self._peer: socket.socket | None = None
        self._stopping = threading.Event()

    def open(self) -> None:
        """Tells the launcher, if there is one, that the model is loaded, and listens to it on a thread."""
        address = os.environ.get(VARIABLE)
        if not address:
            return
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            peer.connect("\0" + address)
            if not same_user(peer):
                raise ConnectionError("another user listens at the launcher's address")
            peer.sendall(f"serving {self._model}\n".encode())
        except OSError as error:
            _log.warning("the launcher does not watch this process: %s", error)
            peer.close()
            return
        self._peer = peer
        threading.Thread(target=self._listen, args=(peer,), name="lifeline", daemon=True).start()

    @property
    def is_open(self) -> bool:
        """Whether a launcher notices the end of this process."""
        return self._peer is not None

    def leave(self) -> None:
        """Tells the launcher that the process ends because its model is unloaded."""
        self._stopping.set()
        self._say("leaving")

    def _listen(self, peer: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := peer.recv(_READ):
                if b"drain" in data:
                    self._drain()
                    self._report_idle()

    def _report_idle(self) -> None:
        while not self._stopping.wait(_POLL_S):
            if self._idle():
                self._say("idle")
                return

    def _say(self, word: str) -> None:
        if self._peer is not None:
            with contextlib.suppress(OSError):  # the launcher has died
                self._peer.sendall(f"{word}\n".encode())


class WatchedModel:
    """One process of a model, as the launcher knows it by its lifeline. `name` is empty until it has told it."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.name = ""
        self.idle = False
        self.leaving = False
        self._unread = b""

    def read(self) -> bool:
        """Reads what has arrived, without waiting. False when the connection has ended."""
        try:
            while data := self.peer.recv(_READ):
                *lines, self._unread = (self._unread + data).split(b"\n")
                for line in lines:
                    self._hear(line.decode("utf-8", "replace"))
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False

    @property
    def died(self) -> bool:
        """Whether its end, if it has ended, was unexpected."""
        return bool(self.name) and not self.leaving

    def _hear(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "serving":
            self.name = rest
        elif word == "idle":
            self.idle = True
        elif word == "leaving":
            self.leaving = True


class LifelineServer:
    """The launcher's end. Not for several threads: it reads only while one of its methods runs."""

    def __init__(self) -> None:
        self.address = f"qwen-triton/lifeline/{secrets.token_hex(16)}"
        self._listener = listen("\0" + self.address)
        self._models: list[WatchedModel] = []
        self._died: list[str] = []

    def died(self) -> str:
        """A model one of whose processes has died; '' when none has. Each death is told once."""
        self._hear()
        return self._died.pop(0) if self._died else ""

    def serving(self) -> set[str]:
        """The models that are loaded."""
        self._hear()
        return {model.name for model in self._models}

    def leaving(self) -> set[str]:
        """The models that are being unloaded and have a process that has not ended."""
        self._hear()
        return {model.name for model in self._models if model.leaving}

    def most_processes(self) -> int:
        """The number of processes of the model that has the most; 0 where none is loaded."""
        self._hear()
        return max(Counter(model.name for model in self._models).values(), default=0)

    def drain(self, names: Collection[str], timeout_s: float, over: Callable[[], bool]) -> bool:
        """Makes these models refuse new requests; True once they have answered all others, or are gone.

        False after `timeout_s`, or once `over()`.
        """
        deadline = time.monotonic() + timeout_s
        self._hear()
        for model in self._models:
            if model.name in names:
                with contextlib.suppress(OSError):
                    model.peer.sendall(b"drain\n")
        while not over() and time.monotonic() < deadline:
            self._hear()
            if all(model.idle for model in self._models if model.name in names):
                return True
            time.sleep(_POLL_S)
        return False

    def forget_all(self) -> None:
        """Closes all connections: the server they belong to has ended."""
        self._hear()
        for model in list(self._models):
            self._forget(model)
        self._died.clear()

    def _hear(self) -> None:
        self._accept()
        for model in list(self._models):
            if not model.read():
                self._forget(model)
                if model.died:
                    self._died.append(model.name)

    def _accept(self) -> None:
        while (peer := accept(self._listener, "be watched as a model")) is not None:
            self._models.append(WatchedModel(peer))

    def _forget(self, model: WatchedModel) -> None:
        model.peer.close()
        self._models.remove(model)
