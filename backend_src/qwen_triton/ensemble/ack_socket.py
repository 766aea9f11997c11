"""Acknowledgements from postprocessing to the engine model, ten times a second over a Unix socket.

Adding one costs under a microsecond a chunk; a thread sends what was added, or reports that the process is idle. Where
nobody listens (NVIDIA's backend, or an engine model that is not loaded yet) nothing else happens.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from threading import Event, Lock, Thread

from ..engines.process.socket import listen, same_user
from .ack_ledger import AckLedger

PERIOD_S = 0.1
_SEND_S = 1.0
_MOST_UNSENT = 10_000
"""Requests whose acknowledgements are kept while nobody listens."""
_BUSY = {0: 0}
"""An acknowledgement of no request: a process that works for others than this engine model is not idle either."""
_AT = struct.Struct("<q")
_ACK = struct.Struct("<iq")

_MOST_BYTES = 1 << 18
_POLL_S = 0.5
"""Seconds between two looks whether to stop, and between two tries to listen where another process has the address."""
_log = logging.getLogger(__name__)


def acks_address(engine_address: str) -> str:
    """The abstract Unix address where the model of that engine listens for acknowledgements."""
    return f"{engine_address}/acks"


def encode_report(at_ns: int, acks: Iterable[tuple[int, int]]) -> bytes:
    """The time of the report, and (request_number, send_begun_ns) of each request's latest chunk; times in ns."""
    return _AT.pack(at_ns) + b"".join(_ACK.pack(*ack) for ack in acks)


def decode_report(data: bytes) -> tuple[int, list[tuple[int, int]]] | None:
    """(at_ns, acks); None where the bytes are no report."""
    if len(data) < _AT.size or (len(data) - _AT.size) % _ACK.size:
        return None
    return _AT.unpack_from(data)[0], list(_ACK.iter_unpack(data[_AT.size :]))


class AckSender:
    """Sends the acknowledgements of this process to `address` until stopped."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address
        self._peer: socket.socket | None = None
        self._lock = Lock()
        self._unsent: dict[int, int] = {}
        self._works = self._has_worked = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="acks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._close()

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While this lasts, and in the first report after it, the process does not report that it is idle."""
        self._works = self._has_worked = True
        try:
            yield
        finally:
            self._works = False

    def add(self, request_number: int, send_begun_ns: int) -> None:
        """Acknowledges a chunk with the next report."""
        with self._lock:
            self._unsent[request_number] = max(send_begun_ns, self._unsent.get(request_number, 0))

    def report(self) -> None:
        """Sends one report; what cannot be sent is sent with the next one."""
        with self._lock:
            at_ns, busy, self._has_worked = time.monotonic_ns(), self._has_worked, self._works
            acks, self._unsent = self._unsent | _BUSY if busy else self._unsent, {}
        if not self._send(encode_report(at_ns, acks.items())) and len(acks) < _MOST_UNSENT:
            with self._lock:
                self._unsent = acks | self._unsent

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            self.report()

    def _send(self, data: bytes) -> bool:
        try:
            if self._peer is None:
                self._peer = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._peer.settimeout(_SEND_S)
                self._peer.connect(self._address)
            self._peer.send(data)
        except OSError:
            self._close()
            return False
        return True

    def _close(self) -> None:
        if self._peer is not None:
            self._peer.close()
            self._peer = None


class AckListener:
    """Enters in `ledger` what processes of the same user report at `address`, until stopped."""

    def __init__(self, ledger: AckLedger, address: str) -> None:
        self._ledger = ledger
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="acks", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        with self._selector:
            if listener := self._listen():
                with listener:
                    self._serve(listener)

    def _serve(self, listener: socket.socket) -> None:
        self._selector.register(listener, selectors.EVENT_READ)
        while not self._stopping.is_set():
            for key, _ in self._selector.select(_POLL_S):
                if key.fileobj is listener:
                    self._accept(listener)
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)
        for peer in [key.fileobj for key in self._selector.get_map().values()]:
            if isinstance(peer, socket.socket):
                peer.close()

    def _listen(self) -> socket.socket | None:
        """None when stopped before the address was free: a model that is being unloaded may still hold it."""
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                return listen(self._address, socket.SOCK_SEQPACKET)
            self._stopping.wait(_POLL_S)
        return None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # the process has ended meanwhile
            peer, _ = listener.accept()
            if not same_user(peer):
                _log.warning("a process of another user wanted to acknowledge chunks; its connection is closed")
                peer.close()
                return
            peer.setblocking(False)
            self._selector.register(peer, selectors.EVENT_READ)

    def _read(self, peer: socket.socket) -> None:
        try:
            data = peer.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(peer)
            peer.close()
            self._ledger.on_disconnect(peer)
        elif report := decode_report(data):
            self._ledger.on_report(peer, *report)
