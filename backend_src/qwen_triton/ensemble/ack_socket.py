"""Postprocessing's side of the receipts: what it has seen of which call, told to the engine model ten times a second.

Noting costs under a microsecond a chunk; a thread sends what was noted, or that there was nothing to do. Where nobody
listens (NVIDIA's backend, or the model is not loaded yet) that is all that happens.
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
from .ack_ledger import Ledger

PERIOD_S = 0.1
_SEND_S = 1.0
_MOST = 10_000
"""Calls that are kept while nobody takes what is sent."""
_BUSY = {0: 0}
"""A receipt of no call: chunks of others than this engine model keep a process from being idle as well."""
_AT = struct.Struct("<q")
_RECEIPT = struct.Struct("<iq")


_MOST_BYTES = 1 << 18
_LOOK_S = 0.5
"""Between two looks whether to stop, and between two tries to listen where another has the address."""
_log = logging.getLogger(__name__)


def receipts_address(engine_address: str) -> str:
    """Where the model of that engine listens for receipts."""
    return f"{engine_address}/receipts"


def encode_report(at_ns: int, receipts: Iterable[tuple[int, int]]) -> bytes:
    """The moment, and (call, sent_ns) of each call's latest chunk."""
    return _AT.pack(at_ns) + b"".join(_RECEIPT.pack(*receipt) for receipt in receipts)


def decode_report(data: bytes) -> tuple[int, list[tuple[int, int]]] | None:
    """(at_ns, receipts); None where the bytes are no report."""
    if len(data) < _AT.size or (len(data) - _AT.size) % _RECEIPT.size:
        return None
    return _AT.unpack_from(data)[0], list(_RECEIPT.iter_unpack(data[_AT.size :]))


class ReceiptSender:
    """Sends what is noted to `address` until stopped."""

    def __init__(self, address: str) -> None:
        self._address = "\0" + address
        self._peer: socket.socket | None = None
        self._lock = Lock()
        self._seen: dict[int, int] = {}
        self._working = self._worked = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="receipts", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._close()

    @contextlib.contextmanager
    def work(self) -> Iterator[None]:
        """As long as there is such work between two reports, the process does not say that it has nothing to do."""
        self._working = self._worked = True
        try:
            yield
        finally:
            self._working = False

    def note(self, call: int, sent_ns: int) -> None:
        """A chunk has come."""
        with self._lock:
            self._seen[call] = max(sent_ns, self._seen.get(call, 0))

    def report(self) -> None:
        """Sends once what there is to say; what nobody takes is said again the next time."""
        with self._lock:
            at_ns, busy, self._worked = time.monotonic_ns(), self._worked, self._working
            seen, self._seen = self._seen | _BUSY if busy else self._seen, {}
        if not self._send(encode_report(at_ns, seen.items())) and len(seen) < _MOST:
            with self._lock:
                self._seen = seen | self._seen

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


class ReceiptListener:
    """Writes into `ledger` what processes of the same user report at `address`, until stopped."""

    def __init__(self, ledger: Ledger, address: str) -> None:
        self._ledger = ledger
        self._address = address
        self._selector = selectors.DefaultSelector()
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="receipts", daemon=True)

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
            for key, _ in self._selector.select(_LOOK_S):
                if key.fileobj is listener:
                    self._accept(listener)
                elif isinstance(key.fileobj, socket.socket):
                    self._read(key.fileobj)
        for peer in [key.fileobj for key in self._selector.get_map().values()]:
            if isinstance(peer, socket.socket):
                peer.close()

    def _listen(self) -> socket.socket | None:
        """None when it was stopped before the address was free: an earlier model may still hold it."""
        while not self._stopping.is_set():
            with contextlib.suppress(OSError):
                return listen(self._address, socket.SOCK_SEQPACKET)
            self._stopping.wait(_LOOK_S)
        return None

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one that has gone again already
            peer, _ = listener.accept()
            if not same_user(peer):
                _log.warning("a process of another user wanted to report receipts; it is not heard")
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
            self._ledger.departed(peer)
        elif report := decode_report(data):
            self._ledger.heard(peer, *report)
