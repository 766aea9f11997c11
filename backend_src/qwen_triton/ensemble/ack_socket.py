"""Acknowledgements from postprocessing to engine models, ten times a second over a Unix socket of each load.

Adding one costs under a microsecond a chunk; a thread sends what was added, or reports that the process is idle. Where
no load is found (NVIDIA's backend, or an engine model that is not loaded yet) nothing else happens.

The first message of a connection names the postprocessing model, as 16 bytes; the others are reports. Each load hears
of the newest chunk of any load: the server runs all of a model's steps in one order.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from threading import Lock
from typing import NamedTuple

from ..engines.process.loads import EngineLoad
from ..engines.process.socket import Entrance, connect_to, listen
from ..serving.threads import BackgroundThread
from .ack_ledger import AckLedger
from .ack_tag import AckTag

PERIOD_S = 0.1
_SEND_S = 1.0
_FIND_S = 0.5
"""Seconds between two looks for loads; a chunk of an unknown load is a reason to look at once."""
_MOST_UNSENT = 10_000
"""Requests whose acknowledgements are kept while nobody listens."""
_BUSY = {0: 0}
"""An acknowledgement of no request: a process that works for others than this engine model is not idle either."""
_HEAD = struct.Struct("<qq")
_ACK = struct.Struct("<iq")
_NAME_BYTES = 16

_MOST_BYTES = 1 << 18


class Report(NamedTuple):
    """What a process reports: `at_ns` now, `newest_ns` when its newest chunk was begun (0: it has none since the last
    report), and (request_number, send_begun_ns) of the latest chunk of each request. Monotonic times.
    """

    at_ns: int
    newest_ns: int
    acks: list[tuple[int, int]]


def encode_report(at_ns: int, newest_ns: int, acks: Iterable[tuple[int, int]]) -> bytes:
    """The fields of a `Report` as bytes."""
    return _HEAD.pack(at_ns, newest_ns) + b"".join(_ACK.pack(*ack) for ack in acks)


def decode_report(data: bytes) -> Report | None:
    """The inverse of encode_report; None where the bytes are no report."""
    if len(data) < _HEAD.size or (len(data) - _HEAD.size) % _ACK.size:
        return None
    at_ns, newest_ns = _HEAD.unpack_from(data)
    return Report(at_ns, newest_ns, list(_ACK.iter_unpack(data[_HEAD.size :])))


class AckSender(BackgroundThread):
    """Sends the acknowledgements of this process to the loads that `find()` returns, until stopped.

    `model` names the postprocessing model within the server: its processes share one queue.
    """

    def __init__(self, find: Callable[[], Iterable[EngineLoad]], model: str) -> None:
        super().__init__("acks")
        self._find = find
        self._name = blake2b(model.encode(), digest_size=_NAME_BYTES).digest()
        self._peers: dict[int, socket.socket] = {}
        self._found_at = -_FIND_S
        self._lock = Lock()
        self._unsent: dict[int, dict[int, int]] = {}
        self._newest_ns = 0
        self._works = self._has_worked = False

    def stop(self) -> None:
        super().stop()
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        for load in list(self._peers):
            self._close(load)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """While this lasts, and in the first report after it, the process does not report that it is idle."""
        self._works = self._has_worked = True
        try:
            yield
        finally:
            self._works = False

    def add(self, tag: AckTag) -> None:
        """Acknowledges a chunk with the next report."""
        load, request_number, begun_ns = tag
        with self._lock:
            acks = self._unsent.setdefault(load, {})
            acks[request_number] = max(begun_ns, acks.get(request_number, 0))
            self._newest_ns = max(self._newest_ns, begun_ns)

    def report(self) -> None:
        """Sends one report to each load; what cannot be sent is sent with the next one."""
        with self._lock:
            at_ns, busy, self._has_worked = time.monotonic_ns(), self._has_worked, self._works
            unsent, self._unsent = self._unsent, {}
            newest_ns, self._newest_ns = self._newest_ns, 0
        self._connect(unsent)
        for load in list(self._peers):
            acks = unsent.pop(load, {})
            if not self._send(load, encode_report(at_ns, newest_ns, (acks | _BUSY if busy else acks).items())) and acks:
                unsent[load] = acks
        self._keep(unsent)

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD_S):
            self.report()

    def _keep(self, unsent: Mapping[int, dict[int, int]]) -> None:
        with self._lock:
            kept = sum(map(len, self._unsent.values()))
            for load, acks in unsent.items():
                kept += len(acks)
                if kept < _MOST_UNSENT:
                    self._unsent[load] = acks | self._unsent.get(load, {})

    def _connect(self, unsent: Iterable[int]) -> None:
        """Connects to loads that are new."""
        now = time.monotonic()
        if now - self._found_at < _FIND_S and all(load in self._peers for load in unsent):
            return
        self._found_at = now
        for load in self._find():
            if load.number not in self._peers:
                with contextlib.suppress(OSError):
                    self._peers[load.number] = connect_to(load.acks_socket, _SEND_S, socket.SOCK_SEQPACKET)
                    self._send(load.number, self._name)

    def _send(self, load: int, data: bytes) -> bool:
        try:
            self._peers[load].send(data)
        except OSError:
            self._close(load)
            return False
        return True

    def _close(self, load: int) -> None:
        self._peers.pop(load).close()


class AckListener(BackgroundThread):
    """Enters in `ledger` what processes of the same user report at `address`, until stopped.

    Raises OSError where `address` is in no folder.
    """

    def __init__(self, ledger: AckLedger, address: str) -> None:
        super().__init__("acks")
        self._ledger = ledger
        self._listener = listen(address, socket.SOCK_SEQPACKET)
        self._selector = selectors.DefaultSelector()
        self._unnamed: set[socket.socket] = set()

    def stop(self) -> None:
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread
        super().stop()

    def _run(self) -> None:
        entrance = Entrance(self._listener, self._selector)
        with self._selector:
            while not self._stopping.is_set():
                for key, _ in self._selector.select(entrance.wait_s()):
                    if key.fileobj is self._listener:
                        self._accept(entrance)
                    elif isinstance(key.fileobj, socket.socket):
                        self._read(key.fileobj)
            for peer in [key.fileobj for key in self._selector.get_map().values()]:
                if isinstance(peer, socket.socket):
                    peer.close()
        self._listener.close()

    def _accept(self, entrance: Entrance) -> None:
        peer = entrance.accept("acknowledge chunks")
        if peer is not None:
            self._unnamed.add(peer)

    def _read(self, peer: socket.socket) -> None:
        try:
            data = peer.recv(_MOST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(peer)
            self._unnamed.discard(peer)
            peer.close()
            self._ledger.on_disconnect(peer)
        elif peer in self._unnamed:
            if len(data) == _NAME_BYTES:
                self._unnamed.discard(peer)
                self._ledger.on_connect(peer, data)
        elif report := decode_report(data):
            self._ledger.on_report(peer, report.at_ns, report.acks, report.newest_ns)
