"""Postprocessing's side of the receipts: what it has seen of which call, told to the engine model ten times a second.

Noting costs under a microsecond a chunk; a thread sends what was noted, or that there was nothing to do. Where nobody
listens (NVIDIA's backend, or the model is not loaded yet) that is all that happens.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterable, Iterator
from threading import Event, Lock, Thread

PERIOD_S = 0.1
_SEND_S = 1.0
_MOST = 10_000
"""Calls that are kept while nobody takes what is sent."""
_BUSY = {0: 0}
"""A receipt of no call: chunks of others than this engine model keep a process from being idle as well."""
_AT = struct.Struct("<q")
_RECEIPT = struct.Struct("<iq")


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
